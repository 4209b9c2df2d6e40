package worker;

import com.fasterxml.jackson.databind.JsonNode;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Envelope;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Connects again and again, says hello, hears what the scheduler says, and stops in order. */
final class Worker implements Session.Listener {
    private static final Duration HELLO_AGAIN = Duration.ofSeconds(5);
    private static final int WARN_AFTER = 2; // hellos without an answer
    private static final Duration SHORT_PAUSE = Duration.ofMillis(250);
    private static final Duration LONG_PAUSE = Duration.ofSeconds(10);
    private static final Duration LAST_WORDS = Duration.ofSeconds(2);

    private final Settings settings;
    private final Set<String> types;
    private final String host = host();
    private final long pid = ProcessHandle.current().pid();
    private final Loop loop = new Loop(this::onProblem);
    private final Jobs jobs;
    private Session session; // none while there is no connection
    private boolean isWelcome;
    private int unanswered; // hellos since the last answer to one
    private Duration pause = SHORT_PAUSE;
    private Future<?> nextHello;
    private boolean stopping;

    Worker(Settings settings, Map<String, Handler> handlers) {
        this.settings = settings;
        types = new TreeSet<>(handlers.keySet());
        jobs = new Jobs(loop, handlers, settings.concurrency(), name());
    }

    void start() {
        loop.post(this::connect);
    }

    /** Returns when what runs has ended, or is given back after `patience`. */
    void stop(Duration patience) {
        try {
            loop.post(() -> {
                stopping = true;
                jobs.stopTaking();
            });
            if (!isIdleWithin(patience)) {
                loop.post(jobs::interruptAll);
                if (!isIdleWithin(LAST_WORDS)) {
                    loop.post(jobs::giveUp);
                    isIdleWithin(LAST_WORDS);
                }
            }
            loop.post(this::sayGoodbye).get(LAST_WORDS.toMillis(), TimeUnit.MILLISECONDS);
        } catch (InterruptedException | ExecutionException | TimeoutException problem) {
            log("stopped before the broker was told: " + problem);
            return;
        }
        log("stopped");
    }

    private boolean isIdleWithin(Duration patience) throws InterruptedException {
        return jobs.idle.await(patience.toMillis(), TimeUnit.MILLISECONDS);
    }

    private void sayGoodbye() throws IOException {
        if (session != null) {
            session.greet(hello());
            session.close();
            session = null;
        }
    }

    private void connect() {
        try {
            session = new Session(settings, loop, this, types);
            greet();
            jobs.onConnected(session);
        } catch (IOException | TimeoutException | RuntimeException problem) {
            onLost(text(problem));
        }
    }

    private void greet() throws IOException {
        helloAfter(HELLO_AGAIN);
        if (unanswered++ == WARN_AFTER) {
            log("no answer to hello in " + HELLO_AGAIN.multipliedBy(WARN_AFTER).toSeconds()
                    + " s: is a scheduler running in namespace " + settings.namespace() + "?");
        }
        session.greet(hello());
    }

    private void helloAfter(Duration delay) {
        if (nextHello != null) {
            nextHello.cancel(false);
        }
        nextHello = loop.after(delay, this::greet);
    }

    private Hello hello() {
        return new Hello(name(), types, settings.concurrency(), jobs.running(), host, pid,
                "example worker in Java", true, stopping);
    }

    @Override
    public void onJob(Envelope envelope, BasicProperties properties, byte[] body) throws IOException {
        jobs.onMessage(envelope, properties, body);
    }

    @Override
    public void onAnswer(String verdict, String messageId, JsonNode body) throws IOException {
        switch (verdict) {
            case "ok" -> onWelcome(body);
            case "error" -> onRefused(body);
            case "accepted" -> jobs.onAccepted(messageId, body.path("lease"));
            case "stale", "canceled", "not_exist" -> jobs.onRefused(messageId, verdict);
            default -> { }
        }
    }

    private void onRefused(JsonNode error) {
        unanswered = 0;
        log("hello is refused: " + error.path("message").asText());
    }

    private void onWelcome(JsonNode welcome) throws IOException {
        unanswered = 0;
        helloAfter(Json.seconds(welcome.path("hello_interval"), Duration.ofSeconds(30)));
        jobs.onCanceled(welcome.path("canceled"));
        var queues = List.of(Json.MAPPER.convertValue(welcome.path("queues"), String[].class));
        if (!isWelcome) {
            isWelcome = true;
            pause = SHORT_PAUSE;
            log("takes jobs from " + String.join(", ", queues) + " on " + settings.broker());
        }
        jobs.onWelcome(queues, Json.seconds(welcome.path("lease_after"), Duration.ofMinutes(1)));
    }

    @Override
    public void onControl(String type, JsonNode body) throws IOException {
        if (type.equals("cancel")) {
            jobs.onCanceled(body.path("tokens"));
        }
    }

    @Override
    public void onLost(String why) {
        if (session != null) {
            session.close();
            session = null;
        }
        if (nextHello != null) {
            nextHello.cancel(false);
        }
        isWelcome = false;
        unanswered = 0;
        jobs.onLost();
        log("no connection to " + settings.broker() + ", again in " + pause.toMillis() + " ms: " + why);
        loop.after(pause, this::connect);
        Duration longer = pause.multipliedBy(2);
        pause = longer.compareTo(LONG_PAUSE) < 0 ? longer : LONG_PAUSE;
    }

    private void onProblem(Exception problem) {
        if (session != null) { // else it is known already
            onLost(text(problem));
        }
    }

    /** Unique, and the same over lost connections. */
    private String name() {
        return host + ":" + pid;
    }

    private static String host() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException problem) {
            return "unknown";
        }
    }

    private static String text(Exception problem) {
        Throwable cause = problem.getMessage() == null && problem.getCause() != null ? problem.getCause() : problem;
        return cause.getMessage() == null ? cause.getClass().getSimpleName() : cause.getMessage();
    }

    private static void log(String line) {
        System.err.println(line);
    }
}
