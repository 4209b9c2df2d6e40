package worker;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import com.fasterxml.jackson.databind.exc.ValueInstantiationException;
import com.fasterxml.jackson.databind.util.RawValue;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.stream.Collectors;

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
            return Optional.ofNullable(Json.MAPPER.readValue(text(), form))
                    .orElseThrow(() -> JobFailure.invalidArgs("the args are null"));
        } catch (JsonProcessingException problem) {
            throw JobFailure.invalidArgs(why(problem));
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

    /** For people who do not know this program's classes. */
    private static String why(JsonProcessingException problem) {
        if (problem instanceof ValueInstantiationException && problem.getCause() != null) {
            return problem.getCause().getMessage(); // a check of the form's own
        }
        if (problem instanceof MismatchedInputException mismatch && mismatch.getTargetType() != null) {
            String where = mismatch.getPath().stream()
                    .map(step -> step.getFieldName() == null ? "[" + step.getIndex() + "]" : step.getFieldName())
                    .collect(Collectors.joining("."));
            return (where.isEmpty() ? "this" : where) + " is no " + mismatch.getTargetType().getSimpleName();
        }
        return problem.getOriginalMessage();
    }

    private String text() {
        return new String(message.body(), StandardCharsets.UTF_8);
    }
}
