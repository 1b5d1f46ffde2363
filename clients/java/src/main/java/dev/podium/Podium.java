package dev.podium;

import java.nio.file.Path;
import java.time.Duration;

/**
 * Where everything begins.
 *
 * <p>Where several servers are replicas of one registry, its address is a list ({@code host1:7070,host2:7070}), or a name that leads to
 * all of them: calls go to those that serve, and what one of them had under way goes on at another one.
 */
public final class Podium {
  private Podium() {}

  /**
   * The registry at $PODIUM_URL, else at 127.0.0.1:7070. Nothing is sent yet.
   *
   * @return the registry, to be closed when done
   */
  public static Registry connect() {
    return builder().connect();
  }

  /**
   * The registry at an address. Nothing is sent yet.
   *
   * @param url {@code host:port} or {@code grpc://host:port}, or a list of them with commas
   * @return the registry, to be closed when done
   */
  public static Registry connect(String url) {
    return builder().url(url).connect();
  }

  /**
   * For more than an address.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /** What can be said about a connection. */
  public static final class Builder {
    private String url;
    private String actor;
    private Duration timeout = Duration.ofSeconds(30);
    private Path cache;
    private boolean isDirect;

    private Builder() {}

    /**
     * Where the registry is; else at $PODIUM_URL, else at 127.0.0.1:7070.
     *
     * @param url {@code host:port} or {@code grpc://host:port}, or a list of them with commas
     * @return this
     */
    public Builder url(String url) {
      this.url = url;
      return this;
    }

    /**
     * Who does it, for the events; else user@host.
     *
     * @param actor 1 to 256 printable ASCII characters
     * @return this
     */
    public Builder actor(String actor) {
      this.actor = actor;
      return this;
    }

    /**
     * How long a call may take, and how long a transfer may stand still before it is given up; else 30 seconds.
     *
     * @param timeout how long
     * @return this
     */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /**
     * The folder of the content cache; else $PODIUM_CACHE, else ~/.cache/podium.
     *
     * @param folder the folder, which need not be there yet
     * @return this
     */
    public Builder cache(Path folder) {
      cache = folder;
      return this;
    }

    /**
     * Whether files are read from where the server keeps them, if it signs URLs for that: the same bytes, verified as ever. Where that
     * does not go they come by way of the server, and a warning of the logger {@code dev.podium} says so. Else they are not.
     *
     * @param direct whether they are
     * @return this
     */
    public Builder direct(boolean direct) {
      isDirect = direct;
      return this;
    }

    /**
     * The registry. Nothing is sent yet.
     *
     * @return the registry, to be closed when done
     */
    public Registry connect() {
      String address = Address.parse(url != null ? url : Address.standard());
      String said = actor == null ? Address.defaultActor() : Address.checkActor(actor);
      String author = actor == null ? Address.userName() : actor;
      Cache content = new Cache(cache); // before there is a connection, which nobody would close if this fails
      return new Registry(new Transport(address, said, timeout), content, author, isDirect);
    }
  }
}
