package dev.podium;

import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.Status;
import io.grpc.StatusOr;
import java.net.URI;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Has each server of a list looked up by gRPC's own resolver, and gives what they lead to as the servers of one registry. One that
 * cannot be looked up is left out. All runs in the channel's synchronization context.
 */
final class Servers extends NameResolver {
  private static final String SCHEME = "podium";

  static {
    NameResolverRegistry.getDefaultRegistry().register(new Provider());
  }

  private final List<String> names;
  private final List<NameResolver> resolvers = new ArrayList<>();
  private final Map<Integer, List<EquivalentAddressGroup>> found = new LinkedHashMap<>(); // by place in the list
  private Listener2 listener;

  private Servers(List<String> names, Args args) {
    this.names = names;
    for (String name : names) {
      resolvers.add(NameResolverRegistry.getDefaultRegistry().asFactory().newNameResolver(URI.create(Address.target(name)), args));
    }
  }

  /** What a channel to the servers at an address has as its target. */
  static String target(String address) {
    String one = Address.target(address);
    return address.contains(",") ? SCHEME + one.substring(one.indexOf(':')) : one;
  }

  @Override
  public String getServiceAuthority() {
    return names.get(0);
  }

  @Override
  public void start(Listener2 listener) {
    this.listener = listener;
    for (int place = 0; place < resolvers.size(); place++) {
      resolvers.get(place).start(new Part(place));
    }
  }

  @Override
  public void refresh() {
    resolvers.forEach(NameResolver::refresh);
  }

  @Override
  public void shutdown() {
    resolvers.forEach(NameResolver::shutdown);
  }

  private Status take(int place, StatusOr<List<EquivalentAddressGroup>> told) {
    if (told.hasValue()) {
      found.put(place, told.getValue());
    }
    List<EquivalentAddressGroup> all = all();
    return listener.onResult2(ResolutionResult.newBuilder()
        .setAddressesOrError(all.isEmpty() ? told : StatusOr.fromValue(all)).build());
  }

  /** What was found so far; what two names lead to, once. */
  private List<EquivalentAddressGroup> all() {
    Map<List<?>, EquivalentAddressGroup> all = new LinkedHashMap<>();
    found.forEach((place, servers) -> servers.forEach(server -> all.putIfAbsent(server.getAddresses(), called(names.get(place), server))));
    return List.copyOf(all.values());
  }

  /** Calls to it name it, whatever else is in the list. */
  private static EquivalentAddressGroup called(String name, EquivalentAddressGroup server) {
    return new EquivalentAddressGroup(
        server.getAddresses(), server.getAttributes().toBuilder().set(EquivalentAddressGroup.ATTR_AUTHORITY_OVERRIDE, name).build());
  }

  private final class Part extends Listener2 {
    private final int place;

    Part(int place) {
      this.place = place;
    }

    @Override
    public Status onResult2(ResolutionResult result) {
      return take(place, result.getAddressesOrError());
    }

    @Override
    public void onResult(ResolutionResult result) {
      onResult2(result);
    }

    @Override
    public void onError(Status error) {
      take(place, StatusOr.fromStatus(error));
    }
  }

  private static final class Provider extends NameResolverProvider {
    @Override
    protected boolean isAvailable() {
      return true;
    }

    @Override
    protected int priority() {
      return 5;
    }

    @Override
    public String getDefaultScheme() {
      return SCHEME;
    }

    @Override
    public NameResolver newNameResolver(URI target, Args args) {
      return target.getScheme().equals(SCHEME) ? new Servers(Address.servers(target.getPath().substring(1)), args) : null;
    }
  }
}
