// What a message is made into, and how a job function fails.
const PROTOCOL = 1;

// Fails an attempt with a code of its own. Any other error has the code "error".
export class Failure extends Error {
  constructor(code, message, { retry = true } = {}) {
    super(message);
    Object.assign(this, { code, retry });
  }
}

// A job from its arrival until its message and its report are settled.
export class HandOver {
  #aborting = new AbortController();
  hasBegun = false;
  leased = false; // held without a message

  constructor(session, message, job) {
    const { correlationId, headers } = message.properties;
    this.session = session; // that brought its message
    this.message = message; // undefined once it is acknowledged
    this.job = job;
    this.token = correlationId;
    this.doubtful = message.fields.redelivered || headers.republished === true; // it needs a claim
    this.signal = this.#aborting.signal;
    this.stop = () => this.#aborting.abort();
  }

  // Throws if it is no job, or one of a later protocol.
  static read(session, message) {
    const { headers, messageId, type } = message.properties;
    for (const [name, least] of [
      ["protocol", 1],
      ["attempt", 1],
      ["max_attempts", 1],
      ["dependency_count", 0],
    ]) {
      if (!Number.isInteger(headers?.[name]) || headers[name] < least)
        throw new Error(`wrong header ${name}`);
    }
    if (headers.protocol > PROTOCOL) throw new Error(`its protocol is ${headers.protocol}`);
    const args = JSON.parse(message.content);
    return new HandOver(session, message, {
      id: messageId,
      type,
      attempt: headers.attempt,
      args,
      body: message.content,
    });
  }

  // Its message comes again, to this worker or another, before it has begun here.
  get isForgotten() {
    return !this.hasBegun && this.session.isLost;
  }

  // Its message is settled once.
  acknowledge() {
    if (this.message) this.session.acknowledge(this.message);
    this.message = undefined;
  }
}
