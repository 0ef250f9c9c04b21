import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readMemory, readNode, readPort, readPublish, readVariable } from "./values.ts";

describe("memory", () => {
  test.each([
    ["256M", 268435456],
    ["1g", 1073741824],
    ["512MiB", 536870912],
    ["64K", 65536],
    ["1048576", 1048576],
  ])("%s", (text, bytes) => expect(readMemory(text)).toBe(bytes));

  test.each(["", "M", "-1M", "1.5G", "0", "256X", "99999999999999G"])("refuses %j", (text) =>
    expect(() => readMemory(text)).toThrow("such as 256M"),
  );
});

describe("publish", () => {
  test.each([
    ["8080:80", { address: "127.0.0.1", host: 8080, guest: 80 }],
    ["0:80", { address: "127.0.0.1", host: 0, guest: 80 }],
    ["0.0.0.0:8080:80", { address: "0.0.0.0", host: 8080, guest: 80 }],
    ["[::1]:8080:80", { address: "::1", host: 8080, guest: 80 }],
  ])("%s", (text, publish) => expect(readPublish(text)).toEqual(publish));

  test.each(["", "80", "80:", ":80", "65536:80", "80:0", "host:80:80", "1.2.3:80:80", "::1:80:80"])(
    "refuses %j",
    (text) => expect(() => readPublish(text)).toThrow(),
  );

  test("reads back what it could have printed", () => {
    const port = fc.integer({ min: 1, max: 65535 });
    fc.assert(
      fc.property(fc.ipV4(), port, port, (address, host, guest) => {
        expect(readPublish(`${address}:${host}:${guest}`)).toEqual({ address, host, guest });
      }),
    );
  });
});

test("variables keep everything after the first =", () => {
  expect(readVariable("URL=http://h/?a=b")).toEqual(["URL", "http://h/?a=b"]);
  expect(readVariable("EMPTY=")).toEqual(["EMPTY", ""]);
  for (const text of ["", "A", "=b", "1A=b", "A B=c"]) expect(() => readVariable(text)).toThrow("KEY=VALUE");
});

test("Node releases", () => {
  expect(readNode("24")).toBe(24);
  expect(readNode("v26")).toBe(26);
  for (const text of ["", "23", "24.1", "latest"]) expect(() => readNode(text)).toThrow("22, 24, 26");
});

test("ports", () => {
  expect(readPort("1234")).toBe(1234);
  for (const text of ["0", "65536", "-1", "x", ""]) expect(() => readPort(text)).toThrow("port");
});
