package worker;

import java.net.URI;

/** Where the jobs are, and how many are run at once. */
record Settings(URI url, String namespace, int concurrency) {

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
}
