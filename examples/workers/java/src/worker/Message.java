package worker;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Envelope;
import java.util.Map;
import java.util.Optional;

/** A job as it came from the broker. */
record Message(String type, String token, String replyTo, String id, int attempt, boolean doubtful, byte[] body) {
    private static final int PROTOCOL = 1;

    /** Nothing if it is of a newer protocol, or lacks what this worker needs. */
    static Optional<Message> read(Envelope envelope, BasicProperties properties, byte[] body) {
        Map<String, Object> headers = properties.getHeaders() == null ? Map.of() : properties.getHeaders();
        long protocol = integer(headers.get("protocol"));
        long attempt = integer(headers.get("attempt"));
        String token = properties.getCorrelationId();
        if (protocol < 1 || protocol > PROTOCOL || attempt < 1
                || token == null || properties.getReplyTo() == null || properties.getType() == null) {
            return Optional.empty();
        }
        boolean doubtful = envelope.isRedeliver() || Boolean.TRUE.equals(headers.get("republished"));
        return Optional.of(new Message(properties.getType(), token, properties.getReplyTo(),
                properties.getMessageId(), (int) attempt, doubtful, body));
    }

    private static long integer(Object header) {
        boolean whole = header instanceof Byte || header instanceof Short
                || header instanceof Integer || header instanceof Long;
        return whole ? ((Number) header).longValue() : -1;
    }
}
