package dev.podium;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import dev.podium.v1.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;

/** A version that was current, its stored files, and the position at which it was what the reference means. */
record LastKnown(Target target, List<File> files, String position) {

  /** The file in {@code folder} that says what {@code reference} of the registry at {@code address} meant last. CACHE.md is its contract. */
  record Record(Path folder, String address, String reference, boolean forServing) {
    private static final Logger LOG = Logger.getLogger("dev.podium");
    private static final Gson JSON = new GsonBuilder().setPrettyPrinting().disableHtmlEscaping().create();

    private String name() {
      return Text.hexSha256(address + "\n" + reference + "\n" + (forServing ? "serving" : "any"));
    }

    private Path path() {
      return folder.resolve(name() + ".json");
    }

    /** What it says; null if it is not there, or makes no sense. */
    LastKnown read() {
      try {
        return parse(JsonParser.parseString(Files.readString(path())).getAsJsonObject());
      } catch (NoSuchFileException none) {
        return null;
      } catch (IOException | JsonParseException | IllegalStateException | IllegalArgumentException | NullPointerException
          | UnsupportedOperationException | ClassCastException | HostileServerException error) {
        LOG.log(Level.WARNING, "{0}: what {1} meant last cannot be read: {2}", new Object[] {path(), reference, error.getMessage()});
        return null;
      }
    }

    /** Replaces what it says, durably. */
    void write(LastKnown known) throws IOException {
      Files.createDirectories(folder);
      Path made = Files.createTempFile(folder, name() + ".", ".new");
      try {
        try (FileChannel file = FileChannel.open(made, StandardOpenOption.WRITE)) {
          ByteBuffer content = StandardCharsets.UTF_8.encode(JSON.toJson(json(known)) + "\n");
          while (content.hasRemaining()) {
            file.write(content);
          }
          file.force(true);
        }
        Files.move(made, path(), StandardCopyOption.ATOMIC_MOVE);
      } catch (Throwable failure) {
        Files.deleteIfExists(made);
        throw failure;
      }
    }

    /** Takes nothing for granted: a file is not there or whole, but somebody may have changed it. */
    private LastKnown parse(JsonObject found) {
      if (!text(found, "address").equals(address) || !text(found, "reference").equals(reference)
          || found.get("for_serving").getAsBoolean() != forServing) {
        throw new IllegalArgumentException("it is another reference's");
      }
      JsonObject said = found.getAsJsonObject("target");
      List<String> warnings = new ArrayList<>();
      said.getAsJsonArray("warnings").forEach(one -> warnings.add(one.getAsString()));
      Target target = new Target(text(said, "model"), text(said, "model_uid"), said.get("number").getAsLong(), text(said, "version"),
          text(said, "digest"), text(said, "record_digest"), text(said, "stage"), said.get("servable").getAsBoolean(), List.copyOf(warnings));
      List<File> files = new ArrayList<>();
      found.getAsJsonArray("files").forEach(one -> files.add(File.newBuilder()
          .setPath(text(one.getAsJsonObject(), "path"))
          .setDigest(text(one.getAsJsonObject(), "digest"))
          .setSizeBytes(one.getAsJsonObject().get("size_bytes").getAsLong())
          .build()));
      Listing.check(files, target.pinned());
      if (!Digests.ofManifest(files).equals(target.digest())) {
        throw new IllegalArgumentException("its files are not those of its digest");
      }
      return new LastKnown(target, List.copyOf(files), text(found, "position"));
    }

    private JsonObject json(LastKnown known) {
      JsonObject content = new JsonObject();
      content.addProperty("address", address);
      content.addProperty("reference", reference);
      content.addProperty("for_serving", forServing);
      content.addProperty("position", known.position);
      content.add("target", json(known.target));
      JsonArray files = new JsonArray();
      for (File file : known.files) {
        JsonObject one = new JsonObject();
        one.addProperty("path", file.getPath());
        one.addProperty("digest", file.getDigest());
        one.addProperty("size_bytes", file.getSizeBytes());
        files.add(one);
      }
      content.add("files", files);
      return content;
    }

    private static JsonObject json(Target target) {
      JsonObject content = new JsonObject();
      content.addProperty("model", target.model());
      content.addProperty("model_uid", target.modelUid());
      content.addProperty("number", target.number());
      content.addProperty("version", target.version());
      content.addProperty("digest", target.digest());
      content.addProperty("record_digest", target.recordDigest());
      content.addProperty("stage", target.stage());
      content.addProperty("servable", target.servable());
      JsonArray warnings = new JsonArray();
      target.warnings().forEach(warnings::add);
      content.add("warnings", warnings);
      return content;
    }

    /** A string, and nothing that could be taken for one. */
    private static String text(JsonObject object, String name) {
      if (!object.getAsJsonPrimitive(name).isString()) {
        throw new IllegalArgumentException(name + " is no text");
      }
      return object.get(name).getAsString();
    }
  }
}
