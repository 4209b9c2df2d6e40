package worker;

import com.rabbitmq.client.ConnectionFactory;
import java.net.URI;
import java.net.URISyntaxException;
import java.security.GeneralSecurityException;
import java.util.Map;

/** Where the jobs are, and how many are run at once. */
record Settings(URI url, String namespace, int concurrency) {
    private static final int LARGEST_NUMBER = 65_535; // of a port, and of jobs at once in AMQP

    /** @throws IllegalArgumentException with a text for people: which variable is wrong, and how to mend it */
    static Settings from(Map<String, String> environment) {
        return new Settings(
                url(variable(environment, "BROKER_QUEUE_URL", "amqp://guest:guest@localhost:5672")),
                variable(environment, "BROKER_QUEUE_NAMESPACE", "bq"),
                concurrency(variable(environment, "CONCURRENCY", "4")));
    }

    String requests() {
        return namespace + ".requests";
    }

    String control() {
        return namespace + ".control";
    }

    /** The broker, for people: without user and password. */
    String broker() {
        String port = url.getPort() < 0 ? "" : ":" + url.getPort();
        return url.getScheme() + "://" + url.getHost() + port + url.getRawPath();
    }

    private static String variable(Map<String, String> environment, String name, String otherwise) {
        String value = environment.getOrDefault(name, "");
        return value.isEmpty() ? otherwise : value;
    }

    private static URI url(String text) {
        if (!text.matches("(?i)amqps?://.*")) {
            throw wrongUrl("does not begin with amqp:// or amqps://");
        }
        URI url;
        try {
            url = new URI(text);
            new ConnectionFactory().setUri(url);
        } catch (URISyntaxException | IllegalArgumentException | GeneralSecurityException problem) {
            throw wrongUrl("cannot be read");
        }
        if (url.getHost() == null || url.getRawFragment() != null) {
            throw wrongUrl("names no host that can be read");
        }
        if (url.getPort() == 0 || url.getPort() > LARGEST_NUMBER) {
            throw wrongUrl("has a port that is not from 1 to " + LARGEST_NUMBER);
        }
        return url;
    }

    /** Does not repeat the URL: the password is in it. */
    private static IllegalArgumentException wrongUrl(String what) {
        return new IllegalArgumentException("BROKER_QUEUE_URL " + what
                + ": write amqp://user:password@host:5672, with %23 for #, %2F for /, %3A for :, %40 for @ in a name");
    }

    private static int concurrency(String text) {
        try {
            int number = Integer.parseInt(text);
            if (number >= 1 && number <= LARGEST_NUMBER) {
                return number;
            }
        } catch (NumberFormatException problem) {
            // said below
        }
        throw new IllegalArgumentException(
                "CONCURRENCY is " + text + ": write a whole number from 1 to " + LARGEST_NUMBER);
    }
}
