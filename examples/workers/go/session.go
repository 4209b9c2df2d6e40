package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	heartbeat      = 10 * time.Second // of the connection
	replyTo        = "amq.rabbitmq.reply-to"
	confirmTimeout = 10 * time.Second // a report may be sent twice, so no harm is done if it was too short
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
	err  *amqp.Error

	mu        sync.Mutex
	questions uint64
	asked     map[string]chan amqp.Delivery // who waits for an answer, by the question's message id

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
	answers, err := s.talk.Consume(replyTo, "", true, false, false, false, nil)
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
	var reason *amqp.Error
	select {
	case reason = <-connection:
	case reason = <-talk:
	case reason = <-jobs:
	case queue := <-consumers:
		reason = &amqp.Error{Code: amqp.NotFound, Reason: queue + " is gone"}
	}
	if reason == nil { // closed by this side
		reason = amqp.ErrClosed
	}
	s.err = reason
	close(s.lost)
	s.connection.Close()
}

func (s *session) isLost() bool {
	select {
	case <-s.lost:
		return true
	default:
		return false
	}
}

func (s *session) route(answers <-chan amqp.Delivery) {
	for answer := range answers {
		s.mu.Lock()
		if waiting := s.asked[answer.MessageId]; waiting != nil {
			waiting <- answer
			delete(s.asked, answer.MessageId)
		}
		s.mu.Unlock()
	}
}

func (s *session) send(ctx context.Context, to string, message amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	message.ContentType, message.DeliveryMode = "application/json", amqp.Persistent
	return s.talk.PublishWithDeferredConfirmWithContext(ctx, s.namespace+"."+to, to, false, false, message)
}

// publish returns once the broker has confirmed the message.
func (s *session) publish(to string, message amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	confirm, err := s.send(ctx, to, message)
	if err == nil && !confirm.Wait() {
		err = errors.New("the broker did not confirm a message")
	}
	return err
}

// ask publishes and returns the answer, which says more than a confirm would. It gives up when ended is closed.
func (s *session) ask(
	to string, message amqp.Publishing, timeout time.Duration, ended <-chan struct{},
) (amqp.Delivery, error) {
	waiting := make(chan amqp.Delivery, 1)
	s.mu.Lock()
	s.questions++
	message.MessageId = strconv.FormatUint(s.questions, 10)
	s.asked[message.MessageId] = waiting
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.asked, message.MessageId)
		s.mu.Unlock()
	}()
	message.ReplyTo = replyTo
	if _, err := s.send(context.Background(), to, message); err != nil {
		return amqp.Delivery{}, err
	}
	select {
	case answer := <-waiting:
		return answer, nil
	case <-s.lost:
		return amqp.Delivery{}, amqp.ErrClosed
	case <-ended:
		return amqp.Delivery{}, errNoAnswer
	case <-time.After(timeout):
		return amqp.Delivery{}, errNoAnswer
	}
}

// take begins to consume the queues if there is room, unless that is so already.
func (s *session) take(queues []string, hasRoom func() bool, receive func(*session, amqp.Delivery)) error {
	s.taking.Lock()
	defer s.taking.Unlock()
	if len(s.queues) > 0 || !hasRoom() {
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
				go receive(s, message)
			}
		}()
	}
	return nil
}

// pause takes no more if there is no room; what has come already stays.
func (s *session) pause(hasRoom func() bool) {
	s.taking.Lock()
	defer s.taking.Unlock()
	if hasRoom() { // by now
		return
	}
	for _, queue := range s.queues {
		s.jobs.Cancel(queue, false) // an error means that the session is lost
	}
	s.queues = nil
}
