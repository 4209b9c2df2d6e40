package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	heartbeat      = 10 * time.Second // of the connection
	confirmTimeout = 30 * time.Second
)

var errNoAnswer = errors.New("the scheduler does not answer")

// A session is one connection to the broker, until it is lost.
type session struct {
	namespace  string
	connection *amqp.Connection
	talk       *amqp.Channel // reports, requests, answers, control messages
	jobs       *amqp.Channel
	cancels    <-chan amqp.Delivery

	lost chan struct{} // closed once the connection is gone; err says why
	err  error

	mu    sync.Mutex
	asked map[string]chan amqp.Delivery // who waits for an answer, by correlation id

	taking sync.Mutex
	queues []string // what is consumed
}

// open connects and listens to what the scheduler says of these types; it takes no jobs yet.
func open(url, namespace, name string, types []string, concurrency int) (*session, error) {
	config := amqp.Config{Heartbeat: heartbeat, Locale: "en_US", Properties: amqp.Table{"connection_name": name}}
	connection, err := amqp.DialConfig(url, config)
	if err != nil {
		return nil, err
	}
	s := &session{
		namespace: namespace, connection: connection, lost: make(chan struct{}),
		asked: map[string]chan amqp.Delivery{},
	}
	if err := s.setUp(types, concurrency); err != nil {
		connection.Close()
		return nil, err
	}
	return s, nil
}

func (s *session) setUp(types []string, concurrency int) (err error) {
	if s.talk, err = s.connection.Channel(); err != nil {
		return err
	}
	if s.jobs, err = s.connection.Channel(); err != nil {
		return err
	}
	go s.watch(
		s.connection.NotifyClose(make(chan *amqp.Error, 1)),
		s.talk.NotifyClose(make(chan *amqp.Error, 1)),
		s.jobs.NotifyClose(make(chan *amqp.Error, 1)),
		s.jobs.NotifyCancel(make(chan string, len(types))),
	)
	if err = s.jobs.Qos(concurrency, 0, false); err != nil {
		return err
	}
	if err = s.talk.Confirm(false); err != nil {
		return err
	}
	answers, err := s.talk.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	go s.route(answers)
	queue, err := s.talk.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	for _, jobType := range types {
		if err = s.talk.QueueBind(queue.Name, jobType, s.namespace+".control", false, nil); err != nil {
			return err
		}
	}
	s.cancels, err = s.talk.Consume(queue.Name, "", true, true, false, false, nil)
	return err
}

// watch ends the whole session when any part of it ends: a channel, or the consumer of a queue that was deleted.
func (s *session) watch(connection, talk, jobs <-chan *amqp.Error, consumers <-chan string) {
	var because *amqp.Error
	select {
	case because = <-connection:
	case because = <-talk:
	case because = <-jobs:
	case queue := <-consumers:
		s.err = fmt.Errorf("queue %s is gone", queue)
	}
	if because != nil {
		s.err = because
	}
	close(s.lost)
	s.connection.Close()
}

func (s *session) route(answers <-chan amqp.Delivery) {
	for answer := range answers {
		s.mu.Lock()
		if waiting := s.asked[answer.CorrelationId]; waiting != nil {
			waiting <- answer
			delete(s.asked, answer.CorrelationId)
		}
		s.mu.Unlock()
	}
}

// publish returns once the broker has confirmed the message.
func (s *session) publish(to string, message amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	message.ContentType, message.DeliveryMode = "application/json", amqp.Persistent
	confirm, err := s.talk.PublishWithDeferredConfirmWithContext(
		ctx, s.namespace+"."+to, to, false, false, message)
	if err != nil {
		return err
	}
	if !confirm.Wait() {
		return errors.New("the broker did not confirm a message")
	}
	return nil
}

// ask publishes and returns the answer.
func (s *session) ask(to string, message amqp.Publishing, timeout time.Duration) (amqp.Delivery, error) {
	waiting := make(chan amqp.Delivery, 1)
	s.mu.Lock()
	s.asked[message.CorrelationId] = waiting
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.asked, message.CorrelationId)
		s.mu.Unlock()
	}()
	message.ReplyTo = "amq.rabbitmq.reply-to"
	if err := s.publish(to, message); err != nil {
		return amqp.Delivery{}, err
	}
	select {
	case answer := <-waiting:
		return answer, nil
	case <-s.lost:
		return amqp.Delivery{}, amqp.ErrClosed
	case <-time.After(timeout):
		return amqp.Delivery{}, errNoAnswer
	}
}

// A welcome is the answer to hello.
type welcome struct {
	Queues        []string `json:"queues"`
	HelloInterval float64  `json:"hello_interval"`
	LeaseAfter    float64  `json:"lease_after"`
	Canceled      []string `json:"canceled"`
}

func (s *session) hello(body map[string]any) (welcome, error) {
	answered := welcome{HelloInterval: 30, LeaseAfter: 60}
	message := amqp.Publishing{Type: "hello", CorrelationId: "hello", Body: encode(body)}
	answer, err := s.ask("requests", message, answerTimeout)
	if err == nil && answer.Type != "ok" {
		err = fmt.Errorf("hello was refused: %s", answer.Body)
	}
	if err == nil {
		err = json.Unmarshal(answer.Body, &answered)
	}
	return answered, err
}

// take begins to consume the queues, unless that is so already.
func (s *session) take(queues []string, receive func(amqp.Delivery)) error {
	s.taking.Lock()
	defer s.taking.Unlock()
	if len(s.queues) > 0 {
		return nil
	}
	for _, queue := range queues {
		messages, err := s.jobs.Consume(queue, queue, false, false, false, false, nil)
		if err != nil {
			return err
		}
		s.queues = append(s.queues, queue)
		go func() {
			for message := range messages {
				go receive(message)
			}
		}()
	}
	return nil
}

// pause takes no more; what has come already stays.
func (s *session) pause() {
	s.taking.Lock()
	defer s.taking.Unlock()
	for _, queue := range s.queues {
		s.jobs.Cancel(queue, false) // an error means that the session is lost
	}
	s.queues = nil
}
