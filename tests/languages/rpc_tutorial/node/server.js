// The server of RabbitMQ's RPC tutorial, but for its queue, which it does not declare.
// It knows nothing of jobs.
import amqp from "amqplib";

const { BROKER_QUEUE_URL: url, BROKER_QUEUE_NAMESPACE: namespace } = process.env;

function compute(request) {
  return request;
}

const connection = await amqp.connect(url);
const channel = await connection.createChannel();
await channel.prefetch(1);
await channel.consume(`${namespace}.jobs.rehearsal`, (message) => {
  const { replyTo, correlationId } = message.properties;
  channel.sendToQueue(replyTo, compute(message.content), { correlationId });
  channel.ack(message);
});
console.log(" [x] Awaiting RPC requests");
