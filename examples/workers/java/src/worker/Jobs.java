package worker;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Envelope;
import java.io.IOException;
import java.time.Duration;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;

/** The jobs in this worker's hands, each from its message to its report: slots, claims, leases. Runs in the loop. */
final class Jobs {
    private static final Duration SAY_STARTED_AFTER = Duration.ofMillis(50);
    private static final Duration KEEP_WITHOUT_SLOT = Duration.ofSeconds(3);
    private static final Duration ASK_AGAIN = Duration.ofSeconds(5);
    private static final Duration REPORT_AGAIN = Duration.ofSeconds(1);
    private static final int HEARTBEATS_PER_LEASE = 4;
    private static final int LARGEST_RESULT = 12 << 20; // a broker closes the channel of who sends 16 MiB
    private static final int TOKENS_KEPT = 10_000;

    /** Counted down once the worker stops and has nothing left. */
    final CountDownLatch idle = new CountDownLatch(1);

    private final Loop loop;
    private final Map<String, Handler> handlers;
    private final int slots;
    private final String worker;
    private final Map<String, Run> runs = new LinkedHashMap<>();
    private final Set<String> canceled = Collections.newSetFromMap(new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > TOKENS_KEPT;
        }
    });
    private Session session; // none while there is no connection
    private List<String> queues = List.of(); // none before `hello` is answered
    private Duration leaseAfter = Duration.ofMinutes(1);
    private boolean stopping;

    Jobs(Loop loop, Map<String, Handler> handlers, int slots, String worker) {
        this.loop = loop;
        this.handlers = handlers;
        this.slots = slots;
        this.worker = worker;
    }

    int running() {
        return (int) runs.values().stream().filter(Run::takesSlot).count();
    }

    // Connections

    void onConnected(Session connected) throws IOException {
        session = connected;
        for (Run run : all()) {
            if (run.state == Run.State.ENDED) {
                report(run); // again: it may have been lost
            }
        }
    }

    void onWelcome(List<String> granted, Duration leaseAfter) throws IOException {
        queues = granted;
        this.leaseAfter = leaseAfter;
        takeMore();
    }

    void onLost() {
        session = null;
        queues = List.of();
        for (Run run : all()) {
            run.tag = null;
            if (!run.isBegun()) { // somebody else has it by now
                forget(run);
            }
        }
    }

    // From a message to the start

    void onMessage(Envelope envelope, BasicProperties properties, byte[] body) throws IOException {
        long tag = envelope.getDeliveryTag();
        var message = Message.read(envelope, properties, body);
        if (message.isEmpty()) {
            session.reject(tag);
            return;
        }
        var run = new Run(message.get(), tag);
        var known = runs.putIfAbsent(run.message.token(), run);
        if (known != null && known.tag == null && known.lease == null) {
            known.tag = tag; // its own was lost with the connection
        } else if (known != null) {
            session.acknowledge(tag);
        } else if (stopping || canceled.contains(run.message.token())) {
            end(run, new Report.Released(stopping ? Run.WORKER_STOPS : "canceled"));
        } else {
            run.next(loop.after(KEEP_WITHOUT_SLOT, () -> giveBack(run)));
            fillSlots();
        }
    }

    private void giveBack(Run run) throws IOException {
        session.stopConsuming();
        end(run, new Report.Released("no free slot"));
    }

    private void fillSlots() throws IOException {
        for (Run run : all()) {
            if (run.state == Run.State.WAITING && running() < slots && !stopping) {
                if (run.message.doubtful()) {
                    claim(run);
                } else {
                    begin(run);
                    run.next(loop.after(SAY_STARTED_AFTER, () -> sayStarted(run)));
                }
            }
        }
        takeMore();
    }

    private void takeMore() throws IOException {
        if (session != null && !queues.isEmpty() && !session.isConsuming() && !stopping && running() < slots) {
            session.consume(queues, slots);
        }
    }

    private void claim(Run run) throws IOException {
        run.state = Run.State.CLAIMING;
        run.next(loop.after(ASK_AGAIN, () -> claim(run)));
        session.ask(run.message, new Report.Started(worker), run.question);
    }

    private void begin(Run run) {
        var job = new Job(run.message, report -> loop.post(() -> tell(run, report)));
        run.start(() -> {
            Report result = result(job, run.message);
            loop.post(() -> end(run, result));
        });
        run.next(loop.after(leaseAfter, () -> lease(run)));
    }

    // While it runs

    private Report result(Job job, Message message) {
        var handler = handlers.get(message.type());
        if (handler == null) {
            return new Report.Failed("unknown_type", "this worker has no " + message.type(), true);
        }
        try {
            byte[] json = Json.write(handler.run(job));
            return json.length <= LARGEST_RESULT ? new Report.Finished(json)
                    : new Report.Failed("invalid_result", "the result is too large", false);
        } catch (JobFailure failure) {
            return new Report.Failed(failure.code, failure.getMessage(), failure.retry);
        } catch (Throwable problem) { // also errors: a stack that overflows ends one job, not the worker
            return failed(problem, message);
        }
    }

    private static Report failed(Throwable problem, Message message) {
        String name = problem.getClass().getSimpleName();
        try {
            if (!(problem instanceof InterruptedException)) { // which is how a canceled job stops
                System.err.println(message.type() + " " + message.id() + " failed:");
                problem.printStackTrace();
            }
            return problem instanceof JsonProcessingException json
                    ? new Report.Failed("invalid_result", json.getOriginalMessage(), false)
                    : new Report.Failed(name, problem.getMessage(), true);
        } catch (Throwable another) { // by a method of the exception itself: the job has to end all the same
            return new Report.Failed(name, "", true);
        }
    }

    private void sayStarted(Run run) throws IOException {
        run.next(loop.after(leaseAfter.minus(SAY_STARTED_AFTER), () -> lease(run)));
        tell(run, new Report.Started(worker));
    }

    private void tell(Run run, Report report) throws IOException {
        if (session != null && run.state == Run.State.RUNNING) {
            session.tell(run.message, report, Map.of(), () -> {}, () -> {});
        }
    }

    private void lease(Run run) throws IOException {
        boolean held = run.lease != null;
        run.next(loop.after(held ? run.lease.dividedBy(HEARTBEATS_PER_LEASE) : ASK_AGAIN, () -> lease(run)));
        if (session != null) {
            session.ask(run.message, held ? new Report.Heartbeat(worker) : new Report.Lease(worker), run.question);
        }
    }

    void onAccepted(String question, JsonNode lease) throws IOException {
        Run run = asked(question);
        if (run != null && run.state == Run.State.CLAIMING) {
            begin(run);
        } else if (run != null && lease.isNumber()) {
            boolean first = run.lease == null;
            run.lease = Json.seconds(lease);
            acknowledge(run);
            if (first && run.state == Run.State.RUNNING) {
                lease(run);
            }
        }
    }

    void onCanceled(JsonNode tokens) throws IOException {
        for (JsonNode token : tokens) {
            canceled.add(token.asText());
            stop(runs.get(token.asText()), "canceled");
        }
    }

    void onRefused(String question, String verdict) throws IOException {
        stop(asked(question), verdict);
    }

    /** The answer may be late: to a run that is over, while another one of the same token has begun. */
    private Run asked(String question) {
        return all().stream().filter(run -> run.question.equals(question)).findAny().orElse(null);
    }

    private void stop(Run run, String reason) throws IOException {
        if (run != null) {
            switch (run.state) {
                case WAITING, CLAIMING -> end(run, new Report.Released(reason));
                case RUNNING -> run.interrupt(reason);
                case ENDED -> { }
            }
        }
    }

    // The end

    private void end(Run run, Report report) throws IOException {
        if (run.state != Run.State.ENDED) {
            run.end(report);
            report(run);
            fillSlots();
        }
    }

    private void report(Run run) throws IOException {
        if (session != null && runs.get(run.message.token()) == run) {
            session.tell(run.message, run.end, run.headers(), () -> {
                acknowledge(run);
                forget(run);
            }, () -> loop.after(REPORT_AGAIN, () -> report(run)));
        }
    }

    private void acknowledge(Run run) throws IOException {
        if (run.tag != null) {
            long tag = run.tag;
            run.tag = null; // a second acknowledgement would close the channel
            session.acknowledge(tag);
        }
    }

    private void forget(Run run) {
        run.next(null);
        runs.remove(run.message.token(), run); // and no later one of its token
        if (stopping && runs.isEmpty()) {
            idle.countDown();
        }
    }

    /** Takes no more, and gives back what has not begun. */
    void stopTaking() throws IOException {
        stopping = true;
        if (runs.isEmpty()) {
            idle.countDown();
        }
        if (session != null) {
            session.stopConsuming();
        }
        for (Run run : all()) {
            if (!run.isBegun()) {
                end(run, new Report.Released(Run.WORKER_STOPS));
            }
        }
    }

    void interruptAll() throws IOException {
        for (Run run : all()) {
            stop(run, Run.WORKER_STOPS);
        }
    }

    /** Gives back also what does not heed its interrupt. */
    void giveUp() throws IOException {
        for (Run run : all()) {
            end(run, new Report.Released(Run.WORKER_STOPS));
        }
    }

    private List<Run> all() {
        return List.copyOf(runs.values());
    }
}
