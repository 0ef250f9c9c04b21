/** Secrets: encrypted at rest with age, opened when an instance starts. */

import { readFileSync, writeFileSync } from "node:fs";
import { sporeError } from "@spore/errors";
import { namedKey, type ReleaseRecord, type SecretPointer, type Store, secretKey } from "./store/types.ts";

/** Loaded with the first secret: it is some megabytes, and many have none. */
type Age = typeof import("age-encryption");

/** The secrets of all apps. */
export class Secrets {
  readonly #store: Store;
  readonly #keyFile: string;
  #opened: Promise<{ readonly age: Age; readonly identity: string }> | null = null;

  /** The key is in a file, made with the first secret: an ordinary age identity that age(1) can use. */
  constructor(store: Store, keyFile: string) {
    this.#store = store;
    this.#keyFile = keyFile;
  }

  #open(): Promise<{ readonly age: Age; readonly identity: string }> {
    this.#opened ??= this.#load();
    this.#opened.catch(() => {
      this.#opened = null;
    });
    return this.#opened;
  }

  async #load(): Promise<{ readonly age: Age; readonly identity: string }> {
    const age = await import("age-encryption");
    try {
      return { age, identity: readFileSync(this.#keyFile, "utf8").trim() };
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
      const identity = await age.generateIdentity();
      writeFileSync(this.#keyFile, `${identity}\n`, { mode: 0o600, flag: "wx", flush: true });
      return { age, identity };
    }
  }

  /** Current versions by name. */
  current(app: string): readonly SecretPointer[] {
    return this.#store.list("secretPointers", { prefix: `${app}/` }).filter(({ current }) => current > 0);
  }

  /** Encrypts values; `keep` puts them, in the caller's transaction. */
  async seal(values: Readonly<Record<string, string>>): Promise<(app: string) => void> {
    const sealed: (readonly [string, string])[] = [];
    const { age, identity } = await this.#open();
    const recipient = await age.identityToRecipient(identity);
    for (const [name, value] of Object.entries(values)) {
      const encrypter = new age.Encrypter();
      encrypter.addRecipient(recipient);
      sealed.push([name, age.armor.encode(await encrypter.encrypt(value))]);
    }
    return (app) => {
      for (const [name, text] of sealed) {
        const version = (this.#store.get("secretPointers", namedKey(app, name))?.last ?? 0) + 1;
        this.#store.put("secrets", secretKey(app, name, version), { app, name, version, sealed: text });
        this.#store.put("secretPointers", namedKey(app, name), {
          app,
          name,
          current: version,
          last: version,
        });
      }
    };
  }

  /** Takes a name away; earlier releases keep the version that they were made with. */
  unset(app: string, name: string): void {
    const pointer = this.#store.get("secretPointers", namedKey(app, name));
    if (pointer !== null) this.#store.put("secretPointers", namedKey(app, name), { ...pointer, current: 0 });
  }

  /** The values that a release gets. */
  async of({ app, config }: ReleaseRecord): Promise<Readonly<Record<string, string>>> {
    const values: Record<string, string> = {};
    if (Object.keys(config.secrets).length === 0) return values;
    const { age, identity } = await this.#open();
    for (const [name, version] of Object.entries(config.secrets)) {
      const record = this.#store.get("secrets", secretKey(app, name, version));
      if (record === null)
        throw sporeError("SPORE_NOT_FOUND", { what: `version ${version} of secret ${name}` });
      const decrypter = new age.Decrypter();
      decrypter.addIdentity(identity);
      values[name] = await decrypter.decrypt(age.armor.decode(record.sealed), "text");
    }
    return values;
  }

  /** Removes all secrets of an app. */
  remove(app: string): void {
    for (const { name, version } of this.#store.list("secrets", { prefix: `${app}/` })) {
      this.#store.delete("secrets", secretKey(app, name, version));
    }
    for (const { name } of this.#store.list("secretPointers", { prefix: `${app}/` })) {
      this.#store.delete("secretPointers", namedKey(app, name));
    }
  }
}
