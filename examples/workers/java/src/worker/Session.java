package worker;

import com.fasterxml.jackson.databind.JsonNode;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.net.URISyntaxException;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.concurrent.TimeoutException;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;

/**
 * One connection to the broker. When anything of it is lost, all of it is, and the worker opens another.
 * Everything here runs in the worker's loop; what the broker says is passed there.
 */
final class Session {
    private static final String REPLY_TO = "amq.rabbitmq.reply-to";
    private static final int TIMEOUT_MS = 10_000;

    /** What the worker hears, in its loop and from the present session only. */
    interface Listener {
        void onJob(Envelope envelope, BasicProperties properties, byte[] body) throws IOException;

        void onAnswer(String verdict, String messageId, JsonNode body) throws IOException;

        void onControl(String type, JsonNode body) throws IOException;

        void onLost(String why);
    }

    private record Unconfirmed(Loop.Step confirmed, Loop.Step refused) {}

    private final Settings settings;
    private final Loop loop;
    private final Listener listener;
    private final Connection connection;
    private final Channel talk;
    private final NavigableMap<Long, Unconfirmed> unconfirmed = new TreeMap<>();
    private final List<String> consumers = new ArrayList<>();
    private Channel jobs;
    private boolean over;

    Session(Settings settings, Loop loop, Listener listener, Collection<String> types)
            throws IOException, TimeoutException {
        this.settings = settings;
        this.loop = loop;
        this.listener = listener;
        connection = factory(settings).newConnection();
        try {
            connection.addShutdownListener(this::shutDown);
            talk = channel();
            talk.confirmSelect();
            talk.addConfirmListener(
                    (number, several) -> post(() -> settle(number, several, true)),
                    (number, several) -> post(() -> settle(number, several, false)));
            talk.basicConsume(REPLY_TO, true, consumer(talk, (envelope, properties, body) ->
                    listener.onAnswer(type(properties), properties.getMessageId(), Json.lenient(body))));
            String own = talk.queueDeclare().getQueue(); // exclusive, and named by the broker
            for (String type : types) {
                talk.queueBind(own, settings.control(), type);
            }
            talk.basicConsume(own, true, consumer(talk, (envelope, properties, body) ->
                    listener.onControl(type(properties), Json.lenient(body))));
        } catch (IOException | RuntimeException problem) {
            close();
            throw problem;
        }
    }

    /** Sends `hello`; the answer comes as any. */
    void greet(Hello hello) throws IOException {
        var properties = new BasicProperties.Builder().type("hello").correlationId("hello");
        if (!hello.stopping()) {
            properties.replyTo(REPLY_TO);
        }
        talk.basicPublish("", settings.requests(), properties.build(), Json.write(hello));
    }

    /** Says something of a job; `confirmed` runs when the broker has it, `refused` if it does not take it. */
    void tell(Message job, Report report, Map<String, Object> headers, Loop.Step confirmed, Loop.Step refused)
            throws IOException {
        unconfirmed.put(talk.getNextPublishSeqNo(), new Unconfirmed(confirmed, refused));
        publish(job, report, new BasicProperties.Builder().headers(headers));
    }

    /** Says something of a job, and asks for an answer, which comes with the same message id. */
    void ask(Message job, Report report, String messageId) throws IOException {
        publish(job, report, new BasicProperties.Builder().replyTo(REPLY_TO).messageId(messageId));
    }

    private void publish(Message job, Report report, BasicProperties.Builder properties) throws IOException {
        byte[] body = report instanceof Report.Finished finished ? finished.json() : Json.write(report);
        properties.type(report.type()).correlationId(job.token()).contentType("application/json");
        talk.basicPublish("", job.replyTo(), properties.build(), body);
    }

    void consume(List<String> queues, int prefetch) throws IOException {
        if (jobs == null) {
            jobs = channel();
        }
        jobs.basicQos(prefetch);
        for (String queue : queues) {
            consumers.add(jobs.basicConsume(queue, false, consumer(jobs, listener::onJob)));
        }
    }

    boolean isConsuming() {
        return !consumers.isEmpty();
    }

    void stopConsuming() throws IOException {
        for (String tag : List.copyOf(consumers)) {
            consumers.remove(tag);
            jobs.basicCancel(tag);
        }
    }

    void acknowledge(long tag) throws IOException {
        jobs.basicAck(tag, false);
    }

    void reject(long tag) throws IOException {
        jobs.basicReject(tag, false);
    }

    /** Nothing is heard of it any more, whatever is still on its way. */
    void close() {
        over = true;
        connection.abort(TIMEOUT_MS);
    }

    private Channel channel() throws IOException {
        Channel channel = connection.createChannel();
        channel.addShutdownListener(this::shutDown);
        return channel;
    }

    private void shutDown(ShutdownSignalException cause) {
        post(() -> listener.onLost(cause.getMessage()));
    }

    private void post(Loop.Step step) {
        loop.post(() -> {
            if (!over) {
                step.run();
            }
        });
    }

    private void settle(long number, boolean several, boolean taken) throws IOException {
        var settled = several ? unconfirmed.headMap(number, true) : unconfirmed.subMap(number, true, number, true);
        var waiting = List.copyOf(settled.values());
        settled.clear();
        for (Unconfirmed each : waiting) {
            (taken ? each.confirmed() : each.refused()).run();
        }
    }

    @FunctionalInterface
    private interface Taker {
        void take(Envelope envelope, BasicProperties properties, byte[] body) throws IOException;
    }

    private DefaultConsumer consumer(Channel channel, Taker taker) {
        return new DefaultConsumer(channel) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, BasicProperties properties, byte[] body) {
                post(() -> taker.take(envelope, properties, body));
            }

            @Override
            public void handleCancel(String tag) {
                post(() -> listener.onLost("a queue was deleted"));
            }
        };
    }

    private static String type(BasicProperties properties) {
        return properties.getType() == null ? "" : properties.getType();
    }

    private static ConnectionFactory factory(Settings settings) {
        var factory = new ConnectionFactory();
        try {
            factory.setUri(settings.url());
            if (factory.isSSL()) { // by itself, the library trusts whatever certificate is shown
                factory.useSslProtocol(SSLContext.getDefault());
                factory.setSocketConfigurator(socket -> {
                    var parameters = ((SSLSocket) socket).getSSLParameters();
                    parameters.setEndpointIdentificationAlgorithm("HTTPS");
                    ((SSLSocket) socket).setSSLParameters(parameters);
                });
            }
        } catch (URISyntaxException | GeneralSecurityException problem) {
            throw new IllegalArgumentException("BROKER_QUEUE_URL: " + problem.getMessage(), problem);
        }
        if (factory.getVirtualHost().isEmpty()) {
            factory.setVirtualHost("/");
        }
        factory.setAutomaticRecoveryEnabled(false); // it would not know what to forget, and what to keep
        factory.setConnectionTimeout(TIMEOUT_MS);
        factory.setRequestedHeartbeat(30);
        return factory;
    }
}
