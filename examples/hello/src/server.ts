/** The smallest server: plain node:http, no dependencies. */

import { createServer } from "node:http";

const port = Number(process.env["PORT"] ?? 8080);

const server = createServer((request, response) => {
  if (request.url === "/json") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ hello: "Spore", node: process.version, pid: process.pid }));
    return;
  }
  if (request.url !== "/") response.statusCode = 404;
  response.setHeader("content-type", "text/plain");
  response.end(response.statusCode === 404 ? "not found\n" : "Hello from Spore\n");
});

server.listen(port, () => console.log(`listening on port ${port}`));
