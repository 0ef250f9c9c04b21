/** A WebSocket server that sends every message back to all clients. */

import { WebSocket, WebSocketServer } from "ws";

const port = Number(process.env["PORT"] ?? 8080);
const server = new WebSocketServer({ port });

server.on("connection", (socket) => {
  socket.send("welcome");
  socket.on("message", (data, isBinary) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});

server.on("listening", () => console.log(`listening on port ${port}`));
