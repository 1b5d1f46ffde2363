package dev.podium;

import dev.podium.v1.BlobSpec;
import dev.podium.v1.ManifestFile;
import dev.podium.v1.MissingBlob;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;

/** Brings the files of a push to the server: hash them, ask which are missing, send only those. */
final class Upload {
  // Files go in groups: the next one is hashed while the first is sent, and one question is asked for many small files.
  private static final int GROUP_FILES = 64;
  private static final long GROUP_BYTES = 64 << 20;

  private final List<SourceFile> files;
  private final Sending.Lane lane;
  private final Set<String> claimed = new HashSet<>(); // digests that some thread takes care of
  private final List<ManifestFile> manifest = new ArrayList<>();

  Upload(Transport transport, String model, List<SourceFile> files) {
    this.files = files;
    lane = new Sending.Lane(transport, new Crew(), new AtomicLong(), model);
  }

  long uploadedBytes() {
    return lane.sent().get();
  }

  /** The manifest of the files, all of whose bytes the server has now; PushRefusedException if one changed meanwhile. */
  List<ManifestFile> run() throws Exception {
    lane.crew().run(groups(), this::bring);
    files.forEach(SourceFile::checkUnchanged);
    manifest.sort(Comparator.comparing(ManifestFile::getPath));
    return manifest;
  }

  private void bring(List<SourceFile> group) throws Exception {
    Map<String, SourceFile> mine = new LinkedHashMap<>();
    for (SourceFile file : group) {
      mine.put(hash(file), file);
    }
    synchronized (claimed) {
      mine.keySet().removeIf(digest -> !claimed.add(digest));
    }
    if (mine.isEmpty()) {
      return;
    }
    List<BlobSpec> blobs = mine.entrySet().stream()
        .map(one -> BlobSpec.newBuilder().setDigest(one.getKey()).setSizeBytes(one.getValue().size()).build()).toList();
    for (MissingBlob blob : lane.findMissing(blobs)) {
      if (mine.containsKey(blob.getDigest())) {
        new Sending(lane, mine.get(blob.getDigest()), blob).run();
      }
    }
  }

  /** The file's digest, which also goes into the manifest. */
  private String hash(SourceFile file) {
    MessageDigest hash = Text.sha256();
    long left = file.size();
    byte[] piece = new byte[(int) Math.min(Frames.CHUNK_BYTES, file.size() + 1)];
    try (InputStream source = new FileInputStream(file.source().toFile())) {
      for (int count = source.read(piece); count >= 0 && left >= 0; count = source.read(piece)) {
        hash.update(piece, 0, count);
        left -= count;
        lane.crew().check();
      }
    } catch (IOException error) {
      throw new PushRefusedException(file.path() + " cannot be read: " + Folder.reason(error));
    }
    file.checkUnchanged();
    if (left != 0) {
      throw new PushRefusedException(file.path() + " has more or fewer bytes than its size says: push a copy of it");
    }
    String digest = Digests.of(hash.digest());
    synchronized (manifest) {
      manifest.add(ManifestFile.newBuilder().setPath(file.path()).setDigest(digest).setSizeBytes(file.size()).build());
    }
    return digest;
  }

  /** The largest files first, so that none is left alone at the end. */
  private List<List<SourceFile>> groups() {
    List<SourceFile> sorted = new ArrayList<>(files);
    sorted.sort(Comparator.comparingLong(file -> -file.size()));
    List<List<SourceFile>> groups = new ArrayList<>();
    List<SourceFile> group = new ArrayList<>();
    long bytes = 0;
    for (SourceFile file : sorted) {
      if (!group.isEmpty() && (group.size() == GROUP_FILES || bytes + file.size() > GROUP_BYTES)) {
        groups.add(group);
        group = new ArrayList<>();
        bytes = 0;
      }
      group.add(file);
      bytes += file.size();
    }
    groups.add(group);
    return groups;
  }
}
