// A client for broker-queue: submits two jobs, the second with the result of the first; waits, looks, cancels.
import { randomUUID } from "node:crypto";
import { Scheduler } from "./scheduler.js";

const USAGE = `usage: node main.js submit TEXT    enqueue two jobs, print their ids
       node main.js status ID…     print what is known of jobs
       node main.js wait ID…       the same, once they have ended; exit code 1 if one did not finish
       node main.js cancel ID…     cancel jobs`;

const WAIT_SECONDS = 20; // of one request; the next one follows

const commands = { submit, status, wait, cancel };

// It names its jobs by ids of its own, so it could be repeated if nobody answered.
async function submit(scheduler, [text]) {
  const jobs = [
    { id: randomUUID(), type: "text.words", args: { text } },
    {
      id: randomUUID(),
      type: "rehearsal.node",
      args: { words: null },
      // The result of job 0 comes in place of the null; so the second job waits for the first.
      references: [{ at: "/words", job: 0 }],
    },
  ];
  await scheduler.ask("submit", { jobs });
  for (const { id } of jobs) console.log(id);
}

// Prints one line for each job, and resolves with whether all have finished.
async function status(scheduler, ids) {
  let finished = true;
  while (ids.length > 0) {
    const { jobs, more = [] } = await scheduler.ask("status", { jobs: ids }); // more: did not fit the answer
    for (const job of jobs) console.log(JSON.stringify(job));
    finished &&= jobs.every(({ state }) => state === "finished");
    ids = more;
  }
  return finished;
}

async function wait(scheduler, ids) {
  for (let open = ids; open.length > 0;) {
    ({ open = [] } = await scheduler.ask("wait", { jobs: open, timeout: WAIT_SECONDS }));
  }
  if (!(await status(scheduler, ids))) process.exitCode = 1;
}

async function cancel(scheduler, jobs) {
  console.log(JSON.stringify(await scheduler.ask("cancel", { jobs })));
}

const [command, ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, command ?? "") || args.length === 0) {
  console.error(USAGE);
  process.exit(1);
}
let scheduler;
try {
  const url = process.env.BROKER_QUEUE_URL || "amqp://guest:guest@localhost:5672";
  scheduler = await Scheduler.connect(url, process.env.BROKER_QUEUE_NAMESPACE || "bq");
  await commands[command](scheduler, args);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await scheduler?.close().catch(() => {}); // it may be closed already
}
