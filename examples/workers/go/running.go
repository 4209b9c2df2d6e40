package main

import (
	"encoding/json"
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	startedAfter = 50 * time.Millisecond
	slotTimeout  = 5 * time.Second // a job that waits longer for a slot is handed back
)

// receive sees one message through to the end of its job.
func (w *Worker) receive(s *session, message amqp.Delivery) {
	job, err := read(w.jobs, s, message)
	if err != nil {
		log.Printf("rejected %s: %v", message.MessageId, err)
		message.Reject(false)
		return
	}
	defer job.cancel()
	if !w.hold(job) {
		return
	}
	slot := w.waitForSlot(job)
	if slot && w.begin(job) {
		kind, body := w.run(job)
		w.report(job, kind, body)
	} else {
		w.report(job, "released", reason("not begun"))
	}
	w.end(job)
	if slot {
		<-w.slots
		w.take()
	}
}

// hold returns whether the job is new here; the message may be one more of a job that is held already.
func (w *Worker) hold(job *handOver) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.held[job.token]; known != nil && !known.isForgotten() {
		if known.leased || !known.session.isLost() {
			job.acknowledge() // at once: it would keep its place in the prefetch
		} else {
			known.session, known.message = job.session, job.message
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
		job.session.pause(w.hasRoom) // until a slot is free: others may have some
	}
	return false
}

// begin returns whether the job may run. One of which another copy may have run is claimed.
func (w *Worker) begin(job *handOver) bool {
	if job.doubtful && job.ctx.Err() == nil && !w.isStopping() {
		if verdict, _ := w.askFor(job, "started", answerTimeout, job.ctx.Done()); verdict != "accepted" {
			return false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if job.ctx.Err() != nil || w.isStopping() || job.isForgotten() {
		return false
	}
	job.began = time.Now()
	return true
}

func (w *Worker) run(job *handOver) (string, []byte) {
	ended := make(chan struct{})
	defer close(ended)
	go w.accompany(job, ended)
	return job.run(w.handlers[job.Type])
}

// accompany tells that a job runs, and takes and keeps a lease on one that runs long.
func (w *Worker) accompany(job *handOver, ended <-chan struct{}) {
	if pause(startedAfter, ended) {
		return
	}
	if !job.doubtful { // a claim said it
		w.connected().publish("reports", w.message(job, "started", w.myName()))
	}
	_, known := w.current()
	if pause(seconds(known.LeaseAfter), ended) {
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

// askFor repeats a report until it is answered, of what has begun over as many connections as that takes.
func (w *Worker) askFor(job *handOver, kind string, timeout time.Duration, ended <-chan struct{}) (string, float64) {
	for !job.isForgotten() {
		answer, err := w.sessionFor(job).ask("reports", w.message(job, kind, w.myName()), timeout, ended)
		if err == nil {
			var body struct{ Lease float64 }
			json.Unmarshal(answer.Body, &body)
			return answer.Type, body.Lease
		}
		if pause(retryAfter/10, ended) {
			break
		}
	}
	return "", 0
}

// report returns once it is confirmed, of what has begun over as many connections as that takes.
func (w *Worker) report(job *handOver, kind string, body []byte) {
	for !job.isForgotten() && w.sessionFor(job).publish("reports", w.message(job, kind, body)) != nil {
		time.Sleep(retryAfter)
	}
}

// sessionFor returns the session to speak of the job over. Until it has begun, only the one that brought it
// will do: once that is lost, somebody else has the job.
func (w *Worker) sessionFor(job *handOver) *session {
	if job.began.IsZero() {
		return job.session
	}
	return w.connected()
}

func (w *Worker) end(job *handOver) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[job.token] == job {
		delete(w.held, job.token)
	}
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
