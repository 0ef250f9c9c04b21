/** Server-sent events: a tick every 100 ms until the client goes away. */

import { createServer } from "node:http";

const port = Number(process.env["PORT"] ?? 8080);

const server = createServer((_request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  let count = 0;
  const timer = setInterval(() => {
    count += 1;
    response.write(`id: ${count}\nevent: tick\ndata: ${JSON.stringify({ count })}\n\n`);
  }, 100);
  response.on("close", () => clearInterval(timer));
});

server.listen(port, () => console.log(`listening on port ${port}`));
