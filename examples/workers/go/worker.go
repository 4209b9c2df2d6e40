package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"os"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	startedAfter  = 50 * time.Millisecond
	slotTimeout   = 5 * time.Second // a job that waits longer for a slot is handed back
	answerTimeout = 10 * time.Second
	retryAfter    = time.Second
	longestPause  = 15 * time.Second // before connecting again
	grace         = 30 * time.Second // for what runs when the worker is to stop
)

// Worker runs jobs of the types that its table of handlers names.
type Worker struct {
	url, namespace, name string
	handlers             map[string]Handler
	slots                chan struct{}
	stopping             chan struct{}
	jobs                 context.Context // of them all

	mu       sync.Mutex
	changed  *sync.Cond // session
	session  *session   // nil while there is none
	welcome  welcome
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
	s := w.current()
	if s != nil {
		s.pause()
	}
	w.awaitIdle(grace)
	stopJobs()
	w.awaitIdle(retryAfter)
	if s = w.current(); s != nil {
		w.hello(s, true)
		s.connection.Close()
	}
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
	for {
		next := answerTimeout
		if err := w.hello(s, false); err != nil {
			log.Printf("hello: %v", err)
		} else {
			next = seconds(w.welcome.HelloInterval)
			w.take()
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

// current returns nil while there is no connection; connected waits for one.
func (w *Worker) current() *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.session
}

func (w *Worker) connected() *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.session == nil {
		w.changed.Wait()
	}
	return w.session
}

func (w *Worker) hello(s *session, stopping bool) error {
	host, _ := os.Hostname()
	answered, err := s.hello(map[string]any{
		"worker": w.name, "types": w.types(), "concurrency": cap(w.slots), "running": len(w.slots),
		"host": host, "pid": os.Getpid(), "software": "example in Go", "leases": true, "stopping": stopping,
	})
	if err != nil {
		return err
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
	return nil
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

// take consumes if a slot is free.
func (w *Worker) take() {
	s := w.current()
	if s == nil || w.isStopping() || len(w.slots) == cap(w.slots) {
		return
	}
	if err := s.take(w.welcome.Queues, w.receive); err != nil {
		log.Printf("consuming: %v", err)
	}
}

func (w *Worker) isStopping() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}

// receive sees one message through to the end of its job.
func (w *Worker) receive(message amqp.Delivery) {
	job, err := read(w.jobs, message)
	if err != nil {
		log.Printf("rejected %s: %v", message.MessageId, err)
		message.Reject(false)
		return
	}
	defer job.cancel()
	if !w.hold(job) {
		return
	}
	if !w.waitForSlot(job) {
		w.end(job, "released", reason("not begun"))
		return
	}
	if w.mayStart(job) {
		w.end(w.run(job))
	} else {
		w.end(job, "released", reason("not begun"))
	}
	<-w.slots
	w.take()
}

// hold returns whether the job is new here; the message may be one more of a job that is held already.
func (w *Worker) hold(job *handOver) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.held[job.token]; known != nil {
		known.copies = append(known.copies, job.copies...)
		if known.leased {
			known.acknowledge()
		}
		return false
	}
	w.held[job.token] = job
	if _, canceled := w.canceled[job.token]; canceled {
		job.cancel()
	}
	return true
}

func (w *Worker) waitForSlot(job *handOver) bool {
	select {
	case w.slots <- struct{}{}:
		return true
	case <-job.ctx.Done():
	case <-w.stopping:
	case <-time.After(slotTimeout):
		if s := w.current(); s != nil {
			s.pause() // until a slot is free: others may have some
		}
	}
	return false
}

// mayStart claims a job of which there may be, or have been, another copy.
func (w *Worker) mayStart(job *handOver) bool {
	if job.doubtful && job.ctx.Err() == nil && !w.isStopping() {
		if verdict, _ := w.askFor(job, "started", answerTimeout, job.ctx.Done()); verdict != "accepted" {
			return false
		}
	}
	return job.ctx.Err() == nil && !w.isStopping()
}

func (w *Worker) run(job *handOver) (*handOver, string, []byte) {
	job.began = time.Now()
	ended := make(chan struct{})
	defer close(ended)
	go w.accompany(job, ended)
	kind, body := job.run(w.handlers[job.Type])
	return job, kind, body
}

// accompany tells that a job runs, and takes and keeps a lease on one that runs long.
func (w *Worker) accompany(job *handOver, ended <-chan struct{}) {
	if pause(startedAfter, ended) {
		return
	}
	if !job.doubtful { // a claim said it
		w.connected().publish("reports", w.message(job, "started", w.myName()))
	}
	if pause(seconds(w.welcome.LeaseAfter), ended) {
		return
	}
	kind, timeout := "lease", answerTimeout
	for {
		verdict, lease := w.askFor(job, kind, timeout, ended)
		if verdict != "accepted" { // canceled, or somebody else's
			job.cancel()
			return
		}
		if lease > 0 {
			w.leased(job)
			kind, timeout = "heartbeat", seconds(lease/4)
		}
		if pause(timeout, ended) {
			return
		}
	}
}

// askFor repeats a report until it is answered, over as many connections as that takes.
func (w *Worker) askFor(job *handOver, kind string, timeout time.Duration, ended <-chan struct{}) (string, float64) {
	for {
		answer, err := w.connected().ask("reports", w.message(job, kind, w.myName()), timeout)
		if err == nil {
			var body struct{ Lease float64 }
			json.Unmarshal(answer.Body, &body)
			return answer.Type, body.Lease
		}
		if pause(retryAfter/10, ended) {
			return "", 0
		}
	}
}

// end reports, over as many connections as that takes, and then acknowledges.
func (w *Worker) end(job *handOver, kind string, body []byte) {
	for w.connected().publish("reports", w.message(job, kind, body)) != nil {
		time.Sleep(retryAfter)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, job.token)
	job.acknowledge()
}

func (w *Worker) leased(job *handOver) {
	w.mu.Lock()
	defer w.mu.Unlock()
	job.leased = true
	job.acknowledge()
}

func (w *Worker) message(job *handOver, kind string, body []byte) amqp.Publishing {
	message := amqp.Publishing{Type: kind, CorrelationId: job.token, Body: body}
	if kind == "finished" || kind == "failed" {
		message.Headers = amqp.Table{"started": job.began.UnixMilli()}
	}
	return message
}

func (w *Worker) myName() []byte { return encode(map[string]string{"worker": w.name}) }

func pause(length time.Duration, ended <-chan struct{}) (over bool) {
	select {
	case <-ended:
		return true
	case <-time.After(length):
		return false
	}
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }
