package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	replyTo       = "amq.rabbitmq.reply-to" // answers come on the channel that asked
	answerTimeout = 30 * time.Second
)

// Refused is the answer to a request that the scheduler did not carry out.
type Refused struct {
	Code, Message string
	Details       json.RawMessage
}

func (r *Refused) Error() string { return r.Code + ": " + r.Message }

// Scheduler is asked one request at a time.
type Scheduler struct {
	namespace  string
	connection *amqp.Connection
	channel    *amqp.Channel
	answers    <-chan amqp.Delivery
	closed     <-chan *amqp.Error
}

func Connect(url, namespace string) (*Scheduler, error) {
	connection, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	channel, err := connection.Channel()
	if err != nil {
		return nil, err
	}
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	answers, err := channel.Consume(replyTo, "", true, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	return &Scheduler{namespace, connection, channel, answers, closed}, nil
}

func (s *Scheduler) Close() { s.connection.Close() }

// Ask sends a request and puts the answer into the value that answer points to, unless that is nil.
func (s *Scheduler) Ask(operation string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	id := NewID()
	message := amqp.Publishing{
		Type: operation, CorrelationId: id, ReplyTo: replyTo,
		ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: body,
	}
	if err := s.channel.PublishWithContext(
		context.Background(), s.namespace+".requests", "requests", false, false, message); err != nil {
		return err
	}
	timeout := time.After(answerTimeout)
	for {
		select {
		case delivery := <-s.answers:
			if delivery.CorrelationId != id {
				continue
			}
			return read(delivery, answer)
		case reason := <-s.closed: // 404: no scheduler has ever been here
			return fmt.Errorf("the broker closed the channel: %w", reason)
		case <-timeout:
			return errors.New("unavailable: nobody answered; the same command may be repeated")
		}
	}
}

func read(delivery amqp.Delivery, answer any) error {
	if delivery.Type == "error" {
		refused := &Refused{}
		if err := json.Unmarshal(delivery.Body, refused); err != nil {
			return err
		}
		return refused
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(delivery.Body, answer)
}

// NewID makes a random UUID.
func NewID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
