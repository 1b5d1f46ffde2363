package dev.podium;

import dev.podium.v1.File;
import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.SignDownloadsRequest;
import dev.podium.v1.SignedDownload;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The URLs of a version's files, asked for by the hundred when the first of them is to be read. Threads share it. */
final class SignedUrls {
  private static final int AT_ONCE = 100; // no server signs fewer

  private final Transport transport;
  private final Crew crew;
  private final String reference;
  private final Map<String, File> waiting = new LinkedHashMap<>(); // in the order in which they will be read
  private final Map<String, String> known = new HashMap<>();

  /** Of the version that the pinned reference means. */
  SignedUrls(Transport transport, Crew crew, String reference, List<File> files) {
    this.transport = transport;
    this.crew = crew;
    this.reference = reference;
    files.forEach(file -> waiting.put(file.getPath(), file));
  }

  synchronized String of(File file) throws Exception {
    crew.check();
    waiting.remove(file.getPath());
    if (!known.containsKey(file.getPath())) {
      List<File> unsigned = new ArrayList<>(List.of(file));
      waiting.values().stream().filter(other -> !known.containsKey(other.getPath())).limit(AT_ONCE - 1).forEach(unsigned::add);
      sign(unsigned);
    }
    return known.get(file.getPath());
  }

  /** Asks anew for all. */
  synchronized void forget() {
    known.clear();
  }

  private void sign(List<File> files) throws Exception {
    SignDownloadsRequest.Builder request = SignDownloadsRequest.newBuilder().setReference(reference);
    files.forEach(file -> request.addPaths(file.getPath()));
    List<SignedDownload> signed;
    try {
      signed = transport.persist(RegistryServiceGrpc.getSignDownloadsMethod(), request.build(), crew).getDownloadsList();
    } catch (PodiumException refused) {
      crew.check();
      if (Thread.currentThread().isInterrupted()) {
        throw refused;
      }
      throw BucketException.inVain(refused.getMessage());
    }
    if (!signed.stream().map(SignedUrls::unsigned).toList().equals(files.stream().map(SignedUrls::unsigned).toList())) {
      throw new HostileServerException("the server signs other downloads than those of " + reference + " that it is asked for");
    }
    signed.forEach(one -> known.put(one.getPath(), one.getUrl()));
  }

  private static List<Object> unsigned(SignedDownload one) {
    return List.of(one.getPath(), one.getDigest(), one.getSizeBytes());
  }

  private static List<Object> unsigned(File one) {
    return List.of(one.getPath(), one.getDigest(), one.getSizeBytes());
  }
}
