// Follows a reference with nothing but stubs that were generated from the contract: npm start -- fraud@champion [FOLDER]
// The rules that it keeps are in the comments of registry_service.proto (References, Retries, Watching) and watch.proto.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, type ClientReadableStream, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { DownloadArtifactRequest } from "./generated/podium/v1/artifacts.js";
import { type Event, EventKind } from "./generated/podium/v1/events.js";
import { RegistryServiceClient } from "./generated/podium/v1/registry_service.js";
import { ResolveVersionRequest, type Target } from "./generated/podium/v1/resolve.js";
import { type File, ListFilesRequest } from "./generated/podium/v1/versions.js";
import { type Reference, WatchFilter, WatchRequest } from "./generated/podium/v1/watch.js";

const SILENCE_MS = 30_000; // after which a call is dead, unless the server said how long it may be silent
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [100, 3_000];
const { UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, RESOURCE_EXHAUSTED, INTERNAL, UNKNOWN, OUT_OF_RANGE } = status;
const PASSING = [UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, RESOURCE_EXHAUSTED, INTERNAL, UNKNOWN]; // any other comes back
const ADDRESS = (process.env.PODIUM_URL || "127.0.0.1:7070").replace(/^grpc:\/\//, "");
// Each has a connection of its own: without that option all share one, also a dead one.
const connect = () => new RegistryServiceClient(ADDRESS, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
let registry = connect();

/** Repeats a read over another connection as long as that may help, after pauses that grow until it calls `arrived`. */
async function persist<T>(attempt: (arrived: () => void) => Promise<T>, passing = PASSING): Promise<T> {
  for (let limit = FIRST_PAUSE_MS; ; limit = Math.min(2 * limit, LONGEST_PAUSE_MS)) {
    try {
      return await attempt(() => (limit = FIRST_PAUSE_MS));
    } catch (error) {
      if (!passing.includes((error as ServiceError).code)) throw error;
      console.error(`${(error as ServiceError).message}; trying again`);
    }
    registry.close();
    registry = connect();
    await sleep(Math.random() * limit);
  }
}

type Method<Q, A> = (request: Q, _: Metadata, options: CallOptions, done: (e: ServiceError | null, answer: A) => void) => unknown;
/** The answer to one request. */
function ask<Q, A>(method: Method<Q, A>, request: Q): Promise<A> {
  return persist(() => new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + SILENCE_MS };
    method.call(registry, request, new Metadata(), options, (error, answer) => (error ? reject(error) : resolve(answer)));
  }));
}

/** The messages of a stream, which is cancelled when one is waited for longer than `silence.ms`. */
async function* messages<T>(call: ClientReadableStream<T>, silence = { ms: SILENCE_MS }): AsyncGenerator<T> {
  call.on("error", () => {}); // the loop throws it, if it still runs
  let timer = setTimeout(() => call.cancel(), silence.ms);
  try {
    for await (const message of call) {
      clearTimeout(timer); // a slow reader is not the server's silence
      yield message;
      timer = setTimeout(() => call.cancel(), silence.ms);
    }
  } finally {
    clearTimeout(timer);
    call.cancel();
  }
}

/** Writes a file piece by piece as it comes, after a cut from where it stopped, and checks its SHA-256. */
async function downloadFile(reference: string, { path, digest }: File, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  const file = await open(to, "wx");
  const hash = createHash("sha256");
  let offset = 0;
  await persist(async (arrived) => {
    const call = registry.downloadArtifact(DownloadArtifactRequest.create({ reference, path, offset }));
    for await (const { chunk } of messages(call)) {
      if (!chunk) continue; // the header
      arrived();
      await file.writeFile(chunk); // which goes on where the last one ended
      hash.update(chunk);
      offset += chunk.length;
    }
  }).finally(() => file.close());
  if (`sha256:${hash.digest("hex")}` !== digest) throw new Error(`${path} is damaged`);
}

/** A folder with the stored files of a version: it is there whole and verified, or not at all. */
async function download({ model, digest }: Target, root: string): Promise<string> {
  const pinned = `${model}@${digest}`; // these bytes, wherever the alias goes meanwhile
  const files: File[] = [];
  let pageToken = "";
  do {
    const page = await ask(registry.listFiles, ListFilesRequest.create({ reference: pinned, pageToken }));
    files.push(...page.files.filter(({ uri }) => !uri)); // the others are not stored here
    pageToken = page.nextPageToken;
  } while (pageToken);
  const manifest = files.map((file) => `${file.digest.replace("sha256:", "")}  ${file.path}\n`).join("");
  const hex = createHash("sha256").update(manifest).digest("hex");
  if (`sha256:${hex}` !== digest) throw new Error(`the files that the server lists are not those of ${pinned}`);
  if (files.some(({ path }) => /(^|\/)\.{0,2}(\/|$)|[\0\\]/.test(path))) throw new Error("a path leads out of the folder");
  const folder = join(root, hex);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  for (const file of files) await downloadFile(pinned, file, join(partial, file.path));
  await rename(partial, folder);
  return folder;
}

type Apply = (snapshot: Reference[] | undefined, events: Event[], restored: boolean) => Promise<void>;
/** Applies a snapshot that shows at least this position, then every change after it, for ever. */
async function watch(filter: WatchFilter, atLeast: string, apply: Apply): Promise<void> {
  let [position, restored] = ["", false];
  await persist(async (arrived) => {
    const request = WatchRequest.create({ filters: [filter], position, forServing: true, atLeast: position ? "" : atLeast });
    const silence = { ms: SILENCE_MS };
    let [snapshot, events]: [Reference[] | undefined, Event[]] = [undefined, []];
    try {
      for await (const message of messages(registry.watch(request), silence)) {
        arrived();
        const interval = message.heartbeatInterval;
        if (interval) silence.ms = 3 * (interval.seconds * 1e3 + interval.nanos / 1e6);
        if (message.snapshot) snapshot = [...(snapshot ?? []), ...message.references];
        events.push(...message.events);
        if (!message.position) continue;
        await apply(snapshot, events, restored);
        [position, restored, snapshot, events] = [message.position, false, undefined, []];
      }
    } catch (error) {
      if ((error as ServiceError).code === OUT_OF_RANGE) [position, atLeast, restored] = ["", "", true]; // history was cut
      throw error;
    }
    throw Object.assign(new Error("the server ended the watch"), { code: UNAVAILABLE });
  }, [...PASSING, OUT_OF_RANGE]);
}

process.on("uncaughtException", ({ message }) => process.exit((console.error(message), 1)));
const [reference = "", root = "models"] = process.argv.slice(2);
const [, model, sign, name] = /^([^@#:]+)([@#])([^@#:]+)$/.exec(reference) ?? [];
if (!model || !name) throw new Error(`${reference} is neither MODEL@ALIAS nor MODEL#STAGE`);
const alias = name === "latest" ? EventKind.EVENT_KIND_LATEST : EventKind.EVENT_KIND_ALIAS;
const filter = WatchFilter.create({ model, name, kinds: [sign === "#" ? EventKind.EVENT_KIND_STAGE : alias] });
const say = async (target: Target | undefined, why: string) =>
  console.log(`${reference}: ${target ? `${target.version} in ${await download(target, root)}` : "no version to serve"} (${why})`);

const { target, position } = await ask(registry.resolveVersion, ResolveVersionRequest.create({ reference, forServing: true }));
await say(target, "resolved");
await watch(filter, position, async (snapshot, events, restored) => {
  if (snapshot) await say(snapshot[0]?.target, restored ? "history was cut" : "snapshot");
  for (const { after, actor, reason } of events) await say(after?.target, `${actor}: ${reason}`);
});
