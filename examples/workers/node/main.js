// A worker for broker-queue. This file has the job functions; put your own into the table.
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "./job.js";
import { Worker } from "./worker.js";

// (job, signal) => result. The signal is aborted when the job is canceled. A Buffer goes out as it is,
// any other result as JSON.
const handlers = {
  "rehearsal.node": rehearse,
  "text.words": words,
};

// Takes as long and fails as the args say, and returns them byte for byte.
async function rehearse(job, signal) {
  const { seconds = 0, fail } = object(job.args);
  await sleep(Math.min(Number(seconds) * 1000, 2 ** 31 - 1), undefined, { signal });
  if (fail) throw new Failure("rehearsed", String(fail));
  return job.body;
}

function words(job) {
  const { text } = object(job.args);
  if (typeof text !== "string") throw invalidArgs("text is no string");
  const counts = new Map();
  let total = 0;
  for (const { segment, isWordLike } of new Intl.Segmenter("en", { granularity: "word" }).segment(text)) {
    if (!isWordLike) continue;
    const word = segment.toLowerCase();
    counts.set(word, (counts.get(word) ?? 0) + 1);
    total += 1;
  }
  const byCount = ([a, m], [b, n]) => n - m || (a < b ? -1 : 1);
  return { words: total, top: [...counts].sort(byCount).slice(0, 5) };
}

function object(args) {
  if (args === null || typeof args !== "object" || Array.isArray(args))
    throw invalidArgs("the args are no object");
  return args;
}

function invalidArgs(message) {
  return new Failure("invalid_args", message, { retry: false });
}

function fatal(message) {
  console.error(message);
  process.exit(2);
}

const url = process.env.BROKER_QUEUE_URL || "amqp://guest:guest@localhost:5672";
if (!/^amqps?:\/\//.test(url)) fatal("BROKER_QUEUE_URL must be amqp://user:password@host:port/vhost");
const concurrency = Number(process.env.CONCURRENCY || 4);
if (!Number.isInteger(concurrency) || concurrency < 1) fatal("CONCURRENCY must be a positive number");
const worker = new Worker({
  url,
  namespace: process.env.BROKER_QUEUE_NAMESPACE || "bq",
  concurrency,
  handlers,
});
// The first signal stops the worker in order; a second one ends it at once.
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await worker.stop();
    process.exit(0);
  });
}
await worker.run();
