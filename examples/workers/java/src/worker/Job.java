package worker;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.util.RawValue;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/** A job as its handler sees it. */
final class Job {
    private final Message message;
    private final Consumer<Report> reports;

    Job(Message message, Consumer<Report> reports) {
        this.message = message;
        this.reports = reports;
    }

    String id() {
        return message.id();
    }

    int attempt() {
        return message.attempt();
    }

    /** The args as a record or bean, with checks of its own. */
    <T> T args(Class<T> form) throws JobFailure {
        try {
            return Json.MAPPER.readValue(text(), form);
        } catch (JsonProcessingException problem) {
            throw JobFailure.invalidArgs(problem.getOriginalMessage());
        }
    }

    JsonNode args() throws JobFailure {
        return args(JsonNode.class);
    }

    /** The args as a result, byte for byte. */
    RawValue sameArgs() {
        return new RawValue(text());
    }

    /** Tells how far the job is, from 0 to 1; the last word is kept. */
    void progress(double fraction, String text) {
        reports.accept(new Report.Progress(fraction, text));
    }

    private String text() {
        return new String(message.body(), StandardCharsets.UTF_8);
    }
}
