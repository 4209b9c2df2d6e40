// The server of RabbitMQ's RPC tutorial, but for its queue, which it does not declare.
// It knows nothing of jobs.
package main

import (
	"context"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func compute(request []byte) []byte { return request }

func main() {
	connection, err := amqp.Dial(os.Getenv("BROKER_QUEUE_URL"))
	check(err)
	channel, err := connection.Channel()
	check(err)
	check(channel.Qos(1, 0, false))
	queue := os.Getenv("BROKER_QUEUE_NAMESPACE") + ".jobs.rehearsal"
	requests, err := channel.Consume(queue, "", false, false, false, false, nil)
	check(err)
	log.Print(" [*] Awaiting RPC requests")
	// The tutorial does this in a goroutine and waits for ever, also when the connection is lost.
	for request := range requests {
		reply := amqp.Publishing{CorrelationId: request.CorrelationId, Body: compute(request.Body)}
		err := channel.PublishWithContext(context.Background(), "", request.ReplyTo, false, false, reply)
		check(err)
		check(request.Ack(false))
	}
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}
