// Hears of jobs and cancels, and sees each job through from its message to its report.
import { EventEmitter, once } from "node:events";
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, HandOver } from "./job.js";
import { Session } from "./session.js";

const LARGEST_RESULT = 15 * 2 ** 20; // bytes; a broker closes the channel of who sends more than it takes
const LONGEST_MESSAGE = 20_000; // of a failure
// Milliseconds:
const STARTED_AFTER = 50;
const SLOT_TIMEOUT = 5_000; // a job that waits longer for a slot is handed back
const ANSWER_TIMEOUT = 10_000;
const RETRY_AFTER = 1_000;
const LONGEST_PAUSE = 15_000; // before connecting again
const GRACE = 30_000; // for what runs when the worker is to stop
const LONGEST_TIMER = 2 ** 31 - 1;

export class Worker extends EventEmitter {
  #held = new Map(); // hand-overs by token
  #canceled = new Map(); // tokens that never start; false: told before the last hello
  #waiting = new Set(); // for a slot
  #running = 0;
  #session; // undefined while there is none
  #welcome;
  #isStopping = false;

  constructor({ url, namespace, concurrency, handlers }) {
    super();
    this.setMaxListeners(0);
    Object.assign(this, { url, namespace, concurrency, handlers });
    this.name = `node-${hostname()}-${process.pid}-${randomBytes(3).toString("hex")}`;
    this.types = Object.keys(handlers);
  }

  // Connects, again and again.
  async run() {
    const queues = this.types.map((type) => `${this.namespace}.jobs.${type}`).join(", ");
    console.error(`taking jobs from ${queues} at ${this.url.replace(/\/\/.*@/, "//")}`);
    for (let pause = RETRY_AFTER / 2; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      const began = Date.now();
      const reason = await this.#serve().catch((error) => error);
      console.error(`no connection: ${reason.message}`);
      if (Date.now() - began > LONGEST_PAUSE) pause = RETRY_AFTER / 2;
      await sleep(pause * (0.5 + Math.random()));
    }
  }

  // Resolves when what runs is done.
  async stop() {
    console.error("stopping");
    this.#isStopping = true;
    for (const handOver of this.#held.values()) if (!handOver.hasBegun) handOver.stop();
    await this.#session?.pause();
    await this.#idle(GRACE);
    for (const handOver of this.#held.values()) handOver.stop();
    await this.#idle(RETRY_AFTER);
    if (this.#session) {
      await this.#session.publish("requests", this.#introduction(true), { type: "hello" }).catch(() => {});
      await this.#session.connection.close().catch(() => {});
    }
    console.error("stopped");
  }

  async #idle(timeout) {
    for (const end = Date.now() + timeout; this.#held.size > 0 && Date.now() < end;) await sleep(10);
  }

  // Opens a session and says hello in it until it is lost.
  async #serve() {
    const { url, namespace, name, types, concurrency } = this;
    const onControl = (message) => this.#hear(message);
    const session = await Session.open({ url, namespace, name, types, concurrency, onControl });
    this.#session = session;
    this.emit("session");
    const over = new AbortController();
    const lost = session.lost.finally(() => over.abort());
    while (!session.isLost) {
      const next = await this.#hello(session).catch((error) => console.error(`hello: ${error.message}`));
      await pause(next ?? ANSWER_TIMEOUT, over.signal);
    }
    this.#session = undefined;
    return lost;
  }

  // Resolves with the time of the next one.
  async #hello(session) {
    const properties = { type: "hello", correlationId: "hello" };
    const answer = await session.ask("requests", this.#introduction(false), properties, ANSWER_TIMEOUT);
    if (answer.properties.type !== "ok") throw new Error(`refused: ${answer.content}`);
    this.#welcome = { hello_interval: 30, lease_after: 60, canceled: [], ...JSON.parse(answer.content) };
    for (const [token, recent] of this.#canceled) {
      if (recent) this.#canceled.set(token, false);
      else this.#canceled.delete(token); // hello names again what may still come
    }
    this.#drop(this.#welcome.canceled);
    this.#take();
    return this.#welcome.hello_interval * 1000;
  }

  #introduction(stopping) {
    const { name: worker, types, concurrency } = this;
    const me = { host: hostname(), pid: process.pid, software: "example in JavaScript" };
    return json({ worker, types, concurrency, running: this.#running, leases: true, stopping, ...me });
  }

  #hear(message) {
    if (message.properties.type !== "cancel") return;
    try {
      this.#drop(JSON.parse(message.content).tokens);
    } catch (error) {
      console.error(`a control message was ignored: ${error.message}`);
    }
  }

  // Stops the jobs with these tokens, or keeps them from starting.
  #drop(tokens) {
    for (const token of tokens) {
      this.#canceled.set(token, true);
      this.#held.get(token)?.stop();
    }
  }

  #take() {
    if (this.#isStopping || this.#running >= this.concurrency || !this.#welcome) return;
    this.#session?.take(this.#welcome.queues, (session, message) => this.#receive(session, message));
  }

  // Sees one message through to the end of its job.
  async #receive(session, message) {
    let handOver;
    try {
      handOver = HandOver.read(session, message);
    } catch (error) {
      console.error(`rejected ${message.properties.messageId}: ${error.message}`);
      session.reject(message);
      return;
    }
    if (!this.#hold(handOver)) return;
    const slot = await this.#slot(handOver);
    if (slot && (await this.#mayBegin(handOver))) await this.#report(handOver, await this.#run(handOver));
    else await this.#report(handOver, released("not begun"));
    if (this.#held.get(handOver.token) === handOver) this.#held.delete(handOver.token);
    handOver.acknowledge();
    if (slot) this.#freeSlot();
  }

  // Returns whether the job is new here; the message may be one more of a job that is held already.
  #hold(handOver) {
    const { session, message, token } = handOver;
    const known = this.#held.get(token);
    if (known && !known.isForgotten) {
      // One more is acknowledged at once: it would keep its place in the prefetch.
      if (known.leased || !known.session.isLost) handOver.acknowledge();
      else Object.assign(known, { session, message });
      return false;
    }
    this.#held.set(token, handOver);
    if (this.#canceled.has(token)) handOver.stop();
    return true;
  }

  // Resolves with whether there is a slot.
  #slot(handOver) {
    if (this.#running < this.concurrency) {
      this.#running += 1;
      return true;
    }
    return new Promise((resolve) => {
      const settle = (found) => {
        clearTimeout(timer);
        this.#waiting.delete(settle);
        resolve(found);
      };
      const timer = setTimeout(() => {
        settle(false);
        this.#session?.pause(); // until a slot is free: others may have some
      }, SLOT_TIMEOUT);
      this.#waiting.add(settle);
      handOver.signal.addEventListener("abort", () => settle(false));
    });
  }

  #freeSlot() {
    const [next] = this.#waiting;
    if (next) {
      next(true);
    } else {
      this.#running -= 1;
      this.#take();
    }
  }

  // Resolves with whether the job may run. One of which another copy may have run is claimed.
  async #mayBegin(handOver) {
    const { doubtful, signal } = handOver;
    const isOff = () => signal.aborted || this.#isStopping || handOver.isForgotten;
    if (doubtful && !isOff()) {
      const { verdict } = await this.#askFor(handOver, "started", ANSWER_TIMEOUT, signal);
      if (verdict !== "accepted") return false;
    }
    handOver.hasBegun = !isOff();
    return handOver.hasBegun;
  }

  // Resolves with the report.
  async #run(handOver) {
    const { job, signal } = handOver;
    const headers = { started: Date.now() };
    const ended = new AbortController();
    this.#accompany(handOver, ended.signal);
    try {
      if (!Object.hasOwn(this.handlers, job.type))
        throw new Failure("unknown_type", `no function for ${job.type}`);
      const result = await this.handlers[job.type](job, signal);
      const body = Buffer.isBuffer(result) ? result : json(result);
      if (body.length > LARGEST_RESULT)
        throw new Failure("too_large", `${body.length} bytes`, { retry: false });
      return signal.aborted ? released("stopped") : { type: "finished", body, headers };
    } catch (error) {
      if (signal.aborted) return released("stopped");
      const { code, message, retry } =
        error instanceof Failure ? error : new Failure("error", String(error?.message ?? error));
      return {
        type: "failed",
        body: json({ code, message: message.slice(0, LONGEST_MESSAGE), retry }),
        headers,
      };
    } finally {
      ended.abort();
    }
  }

  // Tells that a job runs, and takes and keeps a lease on one that runs long.
  async #accompany(handOver, ended) {
    if (await pause(STARTED_AFTER, ended)) return;
    if (!handOver.doubtful) {
      const report = [json({ worker: this.name }), { type: "started", correlationId: handOver.token }];
      this.#session?.publish("reports", ...report).catch(() => {}); // a lease says it too
    }
    if (await pause(this.#welcome.lease_after * 1000, ended)) return;
    for (let type = "lease", timeout = ANSWER_TIMEOUT; ;) {
      const { verdict, lease } = await this.#askFor(handOver, type, timeout, ended);
      if (ended.aborted) return;
      if (verdict !== "accepted") return handOver.stop(); // canceled, or somebody else's
      if (lease) {
        handOver.leased = true;
        handOver.acknowledge();
        [type, timeout] = ["heartbeat", lease * 250];
      }
      if (await pause(timeout, ended)) return;
    }
  }

  // Repeats a report until it is answered, of what has begun over as many connections as that takes.
  async #askFor(handOver, type, timeout, ended) {
    const properties = { type, correlationId: handOver.token };
    const body = json({ worker: this.name });
    while (!ended.aborted && !handOver.isForgotten) {
      try {
        const session = await this.#sessionFor(handOver);
        const answer = await session.ask("reports", body, properties, timeout, ended);
        return { verdict: answer.properties.type, lease: JSON.parse(answer.content).lease };
      } catch {
        await pause(RETRY_AFTER / 10, ended);
      }
    }
    return {};
  }

  // Resolves once it is confirmed, of what has begun over as many connections as that takes.
  async #report(handOver, { type, body, headers }) {
    while (!handOver.isForgotten) {
      try {
        const session = await this.#sessionFor(handOver);
        return await session.publish("reports", body, { type, correlationId: handOver.token, headers });
      } catch {
        await sleep(RETRY_AFTER);
      }
    }
  }

  // Resolves with the session to speak of the job over. Until it has begun, only the one that brought it
  // will do: once that is lost, somebody else has the job.
  async #sessionFor(handOver) {
    if (!handOver.hasBegun) return handOver.session;
    while (!this.#session) await once(this, "session");
    return this.#session;
  }
}

function released(reason) {
  return { type: "released", body: json({ reason }) };
}

function json(value) {
  return Buffer.from(JSON.stringify(value) ?? ""); // an empty body is null
}

// Resolves with whether it was cut short.
function pause(milliseconds, signal) {
  return sleep(Math.min(milliseconds, LONGEST_TIMER), false, { signal }).catch(() => true);
}
