package dev.podium;

import dev.podium.v1.CreateModelRequest;
import dev.podium.v1.GetModelRequest;
import dev.podium.v1.RegisterVersionRequest;
import dev.podium.v1.RegisterVersionResponse;
import dev.podium.v1.RegistryServiceGrpc;
import java.nio.file.Path;
import java.util.List;
import java.util.UUID;

/** A push: a path becomes a version, whole or not at all. */
final class Publication {
  private Publication() {}

  static Push of(Transport transport, String author, String model, Path path, PushOptions options) throws Exception {
    Folder folder = new Folder(path);
    RegisterVersionRequest.Builder request = RegisterVersionRequest.newBuilder()
        .setModel(model)
        .setRecord(Provenance.complete(options.record, path, author))
        .setVersion(options.version)
        .setBump(options.bump)
        .addAllAliases(options.aliases)
        .putAllLabels(options.labels)
        .setDescription(options.description)
        .setReason(options.reason)
        .setRequestId(options.requestId.isEmpty() ? UUID.randomUUID().toString() : options.requestId);
    if (options.stage != null) {
      request.setStage(options.stage);
    }
    if (options.create) {
      ensureModel(transport, model);
    }
    Upload upload = new Upload(transport, model, folder.files);
    request.addAllFiles(upload.run());
    RegisterVersionResponse reply =
        transport.persist(RegistryServiceGrpc.getRegisterVersionMethod(), request.build(), new Crew());
    long size = folder.files.stream().mapToLong(SourceFile::size).sum();
    return new Push(reply.getVersion(), reply.getCreated(), reply.getPosition(), folder.files.size(), size,
        upload.uploadedBytes(), List.copyOf(folder.leftOut));
  }

  /** Creates the model unless it is there. */
  private static void ensureModel(Transport transport, String name) {
    try {
      transport.call(RegistryServiceGrpc.getGetModelMethod(), GetModelRequest.newBuilder().setName(name).build());
    } catch (NotFoundException notYet) {
      try {
        transport.call(RegistryServiceGrpc.getCreateModelMethod(), CreateModelRequest.newBuilder()
            .setName(name).setRequestId(UUID.randomUUID().toString()).build());
      } catch (AlreadyExistsException somebodyElse) {
        // was first
      }
    }
  }
}
