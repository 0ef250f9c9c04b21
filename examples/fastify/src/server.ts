/** A JSON API with Fastify: bodies of up to 10 MB, and a clean end on SIGTERM. */

import Fastify from "fastify";

const app = Fastify({ bodyLimit: 10 * 1024 * 1024 });

app.get("/", () => ({ hello: "Spore" }));

// Answers with what arrived, so that a client can compare.
app.post("/echo", (request) => request.body);

// Slow enough to be in flight when a signal arrives.
app.get("/slow", async () => {
  await new Promise((resolve) => setTimeout(resolve, 500));
  return { done: true };
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, async () => {
    // Stops accepting, answers what is in flight, then ends.
    await app.close();
    console.log("closed");
  });
}

await app.listen({ port: Number(process.env["PORT"] ?? 8080), host: "0.0.0.0" });
console.log("listening");
