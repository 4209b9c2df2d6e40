package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	answerTimeout = 10 * time.Second
	retryAfter    = time.Second
	longestPause  = 15 * time.Second // before connecting again
	grace         = 30 * time.Second // for what runs when the worker is to stop
)

var credentials = regexp.MustCompile("//.*@") // in a URL

// Worker runs jobs of the types that its table of handlers names.
type Worker struct {
	url, namespace, name string
	handlers             map[string]Handler
	slots                chan struct{}
	stopping             chan struct{}
	jobs                 context.Context // of them all

	mu       sync.Mutex
	changed  *sync.Cond           // session
	session  *session             // nil while there is none
	welcome  welcome              // the last one
	held     map[string]*handOver // by token
	canceled map[string]bool      // tokens that never start; false: told before the last hello
}

func NewWorker(url, namespace string, concurrency int, handlers map[string]Handler) *Worker {
	host, _ := os.Hostname()
	random := rand.New(rand.NewSource(time.Now().UnixNano())).Intn(1 << 24)
	w := &Worker{
		url: url, namespace: namespace, handlers: handlers,
		name:     fmt.Sprintf("go-%s-%d-%06x", host, os.Getpid(), random),
		slots:    make(chan struct{}, concurrency),
		stopping: make(chan struct{}),
		held:     map[string]*handOver{},
		canceled: map[string]bool{},
	}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// Run returns after the context has ended and what ran then is done.
func (w *Worker) Run(ctx context.Context) {
	jobs, stopJobs := context.WithCancel(context.Background())
	defer stopJobs()
	w.jobs = jobs
	go w.stayConnected()
	<-ctx.Done()
	log.Print("stopping")
	close(w.stopping)
	w.dropUnbegun()
	if s, _ := w.current(); s != nil {
		s.pause(w.hasRoom)
	}
	w.awaitIdle(grace)
	stopJobs()
	w.awaitIdle(retryAfter)
	if s, _ := w.current(); s != nil {
		s.publish("requests", w.introduction(true))
		s.connection.Close()
	}
	log.Print("stopped")
}

func (w *Worker) awaitIdle(timeout time.Duration) {
	for end := time.Now().Add(timeout); w.holds() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *Worker) holds() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held)
}

func (w *Worker) stayConnected() {
	for pause := retryAfter / 2; ; pause *= 2 {
		began := time.Now()
		log.Printf("no connection: %v", w.serve())
		if time.Since(began) > longestPause {
			pause = retryAfter / 2
		} else if pause > longestPause {
			pause = longestPause
		}
		time.Sleep(pause/2 + time.Duration(rand.Int63n(int64(pause))))
	}
}

// serve opens a session and says hello in it until it is lost.
func (w *Worker) serve() error {
	s, err := open(w.url, w.namespace, w.name, w.types(), cap(w.slots))
	if err != nil {
		return err
	}
	go w.listen(s.cancels)
	w.setSession(s)
	defer w.setSession(nil)
	for told := false; ; {
		next := answerTimeout
		if answered, err := w.hello(s); err != nil {
			log.Printf("hello: %v", err)
		} else {
			next = seconds(answered.HelloInterval)
			if w.take() && !told {
				queues, broker := strings.Join(answered.Queues, ", "), credentials.ReplaceAllString(w.url, "//")
				log.Printf("taking jobs from %s at %s", queues, broker)
				told = true
			}
		}
		select {
		case <-s.lost:
			return s.err
		case <-time.After(next):
		}
	}
}

func (w *Worker) types() (types []string) {
	for name := range w.handlers {
		types = append(types, name)
	}
	return types
}

func (w *Worker) setSession(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session = s
	w.changed.Broadcast()
}

// current returns the session, nil while there is none, and the last welcome.
func (w *Worker) current() (*session, welcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.session, w.welcome
}

// connected waits until there is a session.
func (w *Worker) connected() *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.session == nil {
		w.changed.Wait()
	}
	return w.session
}

func (w *Worker) introduction(stopping bool) amqp.Publishing {
	host, _ := os.Hostname()
	return amqp.Publishing{Type: "hello", CorrelationId: "hello", Body: encode(map[string]any{
		"worker": w.name, "types": w.types(), "concurrency": cap(w.slots), "running": len(w.slots),
		"host": host, "pid": os.Getpid(), "software": "example in Go", "leases": true, "stopping": stopping,
	})}
}

// A welcome is the answer to hello.
type welcome struct {
	Queues        []string `json:"queues"`
	HelloInterval float64  `json:"hello_interval"`
	LeaseAfter    float64  `json:"lease_after"`
	Canceled      []string `json:"canceled"`
}

func (w *Worker) hello(s *session) (welcome, error) {
	answered := welcome{HelloInterval: 30, LeaseAfter: 60}
	answer, err := s.ask("requests", w.introduction(false), answerTimeout, nil)
	if err == nil && answer.Type != "ok" {
		err = fmt.Errorf("hello was refused: %s", answer.Body)
	}
	if err == nil {
		err = json.Unmarshal(answer.Body, &answered)
	}
	if err != nil {
		return answered, err
	}
	w.mu.Lock()
	w.welcome = answered
	for token, recent := range w.canceled { // hello names again what may still come
		if w.canceled[token] = false; !recent {
			delete(w.canceled, token)
		}
	}
	w.mu.Unlock()
	w.drop(answered.Canceled)
	return answered, nil
}

// listen hears which jobs are canceled.
func (w *Worker) listen(control <-chan amqp.Delivery) {
	for message := range control {
		var body struct {
			Tokens []string `json:"tokens"`
		}
		if message.Type == "cancel" && json.Unmarshal(message.Body, &body) == nil {
			w.drop(body.Tokens)
		}
	}
}

// drop stops the jobs with these tokens, or keeps them from starting.
func (w *Worker) drop(tokens []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, token := range tokens {
		w.canceled[token] = true
		if job := w.held[token]; job != nil {
			job.cancel()
		}
	}
}

// dropUnbegun gives back what waits for a slot or for the answer to its claim.
func (w *Worker) dropUnbegun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, job := range w.held {
		if job.began.IsZero() {
			job.cancel()
		}
	}
}

// take consumes if a slot is free, and says whether it does.
func (w *Worker) take() bool {
	s, known := w.current()
	if s == nil || !w.hasRoom() {
		return false
	}
	err := s.take(known.Queues, w.hasRoom, w.receive)
	if err != nil {
		log.Printf("consuming: %v", err)
	}
	return err == nil
}

func (w *Worker) hasRoom() bool { return !w.isStopping() && len(w.slots) < cap(w.slots) }

func (w *Worker) isStopping() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}
