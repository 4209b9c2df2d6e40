package worker;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Comparator;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.Collectors;

/** What this worker can do: put your functions here. */
final class Handlers {
    static final Map<String, Handler> BY_TYPE = Map.ofEntries(
            Map.entry("text.letters", Handlers::letters),
            Map.entry("rehearsal.java", Handlers::rehearsal));

    private Handlers() {}

    record Text(String text) {
        Text {
            Objects.requireNonNull(text, "text is missing");
        }
    }

    /** How many letters there are, and which one there is most of; of several, the first in the alphabet. */
    record Letters(long letters, String most) {}

    private static Letters letters(Job job) throws JobFailure {
        Map<String, Long> counts = job.args(Text.class).text().codePoints()
                .filter(Character::isLetter)
                .mapToObj(letter -> Character.toString(Character.toLowerCase(letter)))
                .collect(Collectors.groupingBy(Function.identity(), TreeMap::new, Collectors.counting()));
        long most = counts.values().stream().max(Comparator.naturalOrder()).orElse(0L);
        return new Letters(
                counts.values().stream().mapToLong(Long::longValue).sum(),
                counts.keySet().stream().filter(letter -> counts.get(letter) == most).findFirst().orElse(""));
    }

    private static Object rehearsal(Job job) throws JobFailure, InterruptedException {
        JsonNode args = job.args();
        if (!args.isObject()) {
            throw JobFailure.invalidArgs("the args are no object");
        }
        JsonNode seconds = args.path("seconds");
        if (!seconds.isMissingNode() && (!seconds.isNumber() || seconds.asDouble() < 0)) {
            throw JobFailure.invalidArgs("`seconds` must be a number, 0 or more");
        }
        Thread.sleep(Json.seconds(seconds).toMillis());
        if (args.has("fail")) {
            throw new JobFailure("rehearsed", args.get("fail").asText(), true);
        }
        return job.sameArgs();
    }
}
