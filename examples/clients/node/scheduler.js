// Requests to the scheduler, and its answers.
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const REPLY_TO = "amq.rabbitmq.reply-to"; // answers come on the channel that asked
const ANSWER_TIMEOUT = 30_000;

// The scheduler did not carry out a request.
export class Refused extends Error {
  constructor({ code, message, details }) {
    super(`${code}: ${message}`);
    Object.assign(this, { code, details });
  }
}

export class Scheduler {
  #asked = new Map(); // who waits for an answer, by correlation id

  constructor(connection, channel, namespace) {
    Object.assign(this, { connection, channel, namespace });
    // 404: no scheduler has ever been here
    for (const part of [connection, channel]) part.on("error", (error) => this.#fail(error));
    channel.on("close", () => this.#fail(new Error("the channel was closed")));
  }

  static async connect(url, namespace) {
    const connection = await amqp.connect(url);
    const channel = await connection.createChannel();
    const scheduler = new Scheduler(connection, channel, namespace);
    await channel.consume(REPLY_TO, (answer) => scheduler.#answer(answer), { noAck: true });
    return scheduler;
  }

  // Resolves with the body of the answer.
  async ask(operation, body = {}) {
    const correlationId = randomUUID();
    let timer;
    const answered = new Promise((resolve, reject) => {
      this.#asked.set(correlationId, { resolve, reject });
      const late = new Error("unavailable: nobody answered; the same command may be repeated");
      timer = setTimeout(reject, ANSWER_TIMEOUT, late);
    });
    const properties = {
      type: operation,
      correlationId,
      replyTo: REPLY_TO,
      contentType: "application/json",
      persistent: true,
    };
    this.channel.publish(
      `${this.namespace}.requests`,
      "requests",
      Buffer.from(JSON.stringify(body)),
      properties,
    );
    try {
      const { properties, content } = await answered;
      if (properties.type === "error") throw new Refused(JSON.parse(content));
      return JSON.parse(content);
    } finally {
      clearTimeout(timer);
      this.#asked.delete(correlationId);
    }
  }

  close() {
    return this.connection.close();
  }

  #answer(message) {
    this.#asked.get(message?.properties.correlationId)?.resolve(message);
  }

  #fail(error) {
    for (const { reject } of this.#asked.values()) reject(error);
  }
}
