package dev.podium;

import dev.podium.v1.File;
import dev.podium.v1.ListFilesRequest;
import dev.podium.v1.ListFilesResponse;
import dev.podium.v1.RegistryServiceGrpc;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The files of one version as the server tells them, checked: that no path leads out of a folder, and that the digest fits. */
record Listing(Target target, List<File> stored, List<File> external) {
  private static final int PAGE_SIZE = 1000;

  /** All files of a version; HostileServerException if they cannot be the files that its digest stands for. */
  static Listing fetch(Transport transport, Target target, Crew crew) throws Exception {
    String reference = target.pinned();
    ListFilesRequest.Builder request = ListFilesRequest.newBuilder().setReference(reference).setPageSize(PAGE_SIZE);
    List<File> files = new ArrayList<>();
    while (files.size() <= Paths.MAX_FILES) {
      ListFilesResponse page = transport.persist(RegistryServiceGrpc.getListFilesMethod(), request.build(), crew);
      files.addAll(page.getFilesList());
      if (page.getNextPageToken().isEmpty()) {
        break;
      }
      if (page.getFilesCount() == 0) {
        throw new HostileServerException("the server lists the files of " + reference + " without an end");
      }
      request.setPageToken(page.getNextPageToken());
    }
    check(files, reference);
    List<File> stored = files.stream().filter(file -> file.getUri().isEmpty()).toList();
    if (!Digests.ofManifest(stored).equals(target.digest())) {
      throw new HostileServerException("the server lists files of " + reference + " that are not those of " + target.digest());
    }
    return new Listing(target, stored, files.stream().filter(file -> !file.getUri().isEmpty()).toList());
  }

  /** HostileServerException if they cannot be the files of one version. */
  static void check(Collection<File> files, String reference) {
    if (files.size() > Paths.MAX_FILES) {
      throw new HostileServerException("the server lists more than " + Paths.MAX_FILES + " files of " + reference);
    }
    Map<String, Long> sizes = new HashMap<>();
    for (File file : files) {
      String fault = Paths.fault(file.getPath());
      if (!fault.isEmpty()) {
        throw hostile(file, "of " + reference + ": the path " + fault);
      }
      if (!file.getUri().isEmpty()) {
        continue;
      }
      if (!Digests.isOne(file.getDigest()) || file.getSizeBytes() < 0) {
        throw hostile(file, "of " + reference + " without a digest and a size");
      }
      Long other = sizes.putIfAbsent(file.getDigest(), file.getSizeBytes());
      if (other != null && other != file.getSizeBytes()) {
        throw hostile(file, "of " + reference + " with a size that its digest cannot have");
      }
    }
    List<String> both = Paths.clash(files.stream().map(File::getPath).toList());
    if (both != null) {
      throw new HostileServerException("the server lists " + Text.quoted(both.get(0)) + " and " + Text.quoted(both.get(1)) + " of "
          + reference + ": no folder can hold both");
    }
  }

  private static HostileServerException hostile(File file, String what) {
    return new HostileServerException("the server lists the file " + Text.quoted(file.getPath()) + " " + what);
  }

  /** The size of each stored file by its path. */
  Map<String, Long> sizes() {
    Map<String, Long> sizes = new HashMap<>();
    stored.forEach(file -> sizes.put(file.getPath(), file.getSizeBytes()));
    return sizes;
  }
}
