# frozen_string_literal: true

# The server of RabbitMQ's RPC tutorial, but for its queue, which it does not declare.
# It knows nothing of jobs.
require "bunny"

def compute(request) = request

connection = Bunny.new(ENV.fetch("BROKER_QUEUE_URL"))
connection.start
channel = connection.create_channel
channel.prefetch(1)
exchange = channel.default_exchange
queue = channel.queue("#{ENV.fetch('BROKER_QUEUE_NAMESPACE')}.jobs.rehearsal", no_declare: true)
queue.subscribe(manual_ack: true) do |delivery, properties, body|
  exchange.publish(
    compute(body),
    routing_key: properties.reply_to,
    correlation_id: properties.correlation_id
  )
  channel.ack(delivery.delivery_tag)
end

puts " [x] Awaiting RPC requests"
loop { sleep 5 }
