// One connection to the broker, until it is lost.
import amqp from "amqplib";

const REPLY_TO = "amq.rabbitmq.reply-to";
const CONNECT_TIMEOUT = 10_000; // milliseconds
const HEARTBEAT = "10"; // seconds

export class Session {
  #questions = 0;
  #asked = new Map(); // who waits for an answer, by the question's message id
  #queues = []; // what is consumed
  #changing = Promise.resolve(); // one change of that after the other
  isLost = false;

  constructor(connection, namespace) {
    this.connection = connection;
    this.namespace = namespace;
    this.lost = new Promise((resolve) => {
      this.lose = (reason) => {
        if (this.isLost) return;
        this.isLost = true;
        for (const { reject } of this.#asked.values()) reject(reason);
        connection.close().catch(() => {}); // it may be closed already
        resolve(reason);
      };
    });
    this.#watch(connection, "the connection");
  }

  // Connects and listens to what the scheduler says of these types; takes no jobs yet.
  static async open({ url, namespace, name, types, concurrency, onControl }) {
    const address = new URL(url);
    if (!address.searchParams.has("heartbeat")) address.searchParams.set("heartbeat", HEARTBEAT);
    const clientProperties = { connection_name: name };
    const connection = await amqp.connect(address.href, {
      timeout: CONNECT_TIMEOUT,
      noDelay: true,
      clientProperties,
    });
    const session = new Session(connection, namespace);
    try {
      await session.#setUp(types, concurrency, onControl);
    } catch (error) {
      session.lose(error);
      throw error;
    }
    return session;
  }

  async #setUp(types, concurrency, onControl) {
    this.talk = this.#watch(await this.connection.createConfirmChannel(), "a channel");
    this.jobs = this.#watch(await this.connection.createChannel(), "a channel");
    await this.jobs.prefetch(concurrency);
    const noAck = true;
    await this.talk.consume(REPLY_TO, (answer) => this.#answer(answer), { noAck });
    const { queue } = await this.talk.assertQueue("", { exclusive: true });
    for (const type of types) await this.talk.bindQueue(queue, `${this.namespace}.control`, type);
    await this.talk.consume(queue, (message) => message && onControl(message), { noAck });
  }

  // The loss of any part is the loss of the whole.
  #watch(part, what) {
    part.on("error", this.lose);
    part.on("close", () => this.lose(new Error(`${what} was closed`)));
    return part;
  }

  #answer(message) {
    this.#asked.get(message?.properties.messageId)?.resolve(message);
  }

  // Resolves once the broker has confirmed the message.
  publish(to, body, properties) {
    const options = { contentType: "application/json", persistent: true, ...properties };
    return new Promise((resolve, reject) => {
      const confirmed = (error) => (error ? reject(error) : resolve());
      this.talk.publish(`${this.namespace}.${to}`, to, body, options, confirmed);
    });
  }

  // Resolves with the answer, which says more than a confirm would. Gives up when `ended` is aborted.
  async ask(to, body, properties, timeout, ended) {
    const messageId = String(++this.#questions);
    let timer, giveUp;
    try {
      return await new Promise((resolve, reject) => {
        this.#asked.set(messageId, { resolve, reject });
        timer = setTimeout(reject, timeout, new Error("the scheduler does not answer"));
        giveUp = () => reject(ended.reason);
        ended?.addEventListener("abort", giveUp);
        this.publish(to, body, { ...properties, messageId, replyTo: REPLY_TO }).catch(reject);
      });
    } finally {
      clearTimeout(timer);
      ended?.removeEventListener("abort", giveUp);
      this.#asked.delete(messageId);
    }
  }

  // Begins to consume the queues, unless that is so already.
  take(queues, receive) {
    return this.#change(async () => {
      if (this.#queues.length > 0) return;
      this.#queues = queues;
      for (const queue of queues) {
        const take = (message) =>
          message ? receive(this, message) : this.lose(new Error(`${queue} is gone`));
        await this.jobs.consume(queue, take, { consumerTag: queue });
      }
    });
  }

  // Takes no more; what has come already stays.
  pause() {
    return this.#change(async () => {
      for (const queue of this.#queues) await this.jobs.cancel(queue);
      this.#queues = [];
    });
  }

  #change(action) {
    this.#changing = this.#changing.then(action).catch(this.lose);
    return this.#changing;
  }

  acknowledge(message) {
    this.#settle(() => this.jobs.ack(message));
  }

  reject(message) {
    this.#settle(() => this.jobs.reject(message, false));
  }

  #settle(action) {
    try {
      action();
    } catch {
      // The channel is closed, so the message comes again by itself.
    }
  }
}
