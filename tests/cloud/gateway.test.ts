import { createServer } from "node:http";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

/** A collector, and the bodies that came. */
async function collector() {
  const bodies: string[] = [];
  const server = createServer(async (asked, response) => {
    let text = "";
    for await (const part of asked.setEncoding("utf8")) text += part;
    bodies.push(text);
    response.end("{}");
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = (): Promise<void> => new Promise((resolve) => void server.close(() => resolve()));
  return { port, bodies, [Symbol.asyncDispose]: close };
}

function ask(port: number, host: string, path: string, ca: string, headers: Record<string, string>) {
  return new Promise<string>((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, servername: host, ca, agent: false };
    const asked = request({ ...options, headers: { host, ...headers } }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      answer.on("end", () => resolve(text));
    });
    asked.on("error", reject).end();
  });
}

test("HTTPS with the development authority, a trace that goes through the machine, and its spans at a collector", async () => {
  await using spans = await collector();
  await using spore = await cloud(["--tls-port", "0", "--otlp", `http://127.0.0.1:${spans.port}`]);
  await spore.json(["deploy", "--name", "app", join(root, "tests/fixtures/cloud-vars")]);
  const { stdout: ca } = await spore.spore(["ca"]);
  const { certificate, domain } = await spore.json<{ certificate: string; domain: string }>(["ca"]);
  expect({ certificate, domain }).toEqual({ certificate: ca, domain: "localhost" });
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
  const heard = await ask(spore.port, "app.localhost", "/headers", ca, { traceparent });
  const seen = (JSON.parse(heard) as { traceparent: string }).traceparent;
  expect(seen).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
  const span = seen.split("-")[2] ?? "";
  await expect
    .poll(() => spans.bodies.join(""), { timeout: 20_000 })
    .toContain(`"spanId":"${span}","parentSpanId":"b7ad6b7169203331"`);
});
