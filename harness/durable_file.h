// Files that appear whole or not at all, and survive kill -9 and power failure once they have.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace pareto {

/// A file under a temporary name beside `target`, removed unless it was published.
class PendingFile {
 public:
  /// Writes and fsyncs the bytes. MachineError names the target and the reason; InputError for an
  /// empty path.
  PendingFile(std::filesystem::path target, std::span<const std::byte> bytes);
  /// Only chooses the temporary name; somebody else writes the file and then calls `sync`.
  explicit PendingFile(std::filesystem::path target);
  PendingFile(PendingFile&& other) noexcept;
  PendingFile& operator=(PendingFile&&) = delete;
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  [[nodiscard]] const std::filesystem::path& temporary() const { return temporary_; }
  /// fsync of the temporary file. MachineError.
  void sync() const;
  /// Gives the file its name in one step, replacing what had it. False if the temporary file has
  /// disappeared; MachineError for any other failure. `sync_folder` makes it last.
  [[nodiscard]] bool publish();
  /// The same where nobody may have removed the temporary file: then a MachineError too.
  void publish_or_fail();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
};

/// Holds other writers of the same folder off while it lives, so that files that belong together
/// take their names together. Where the file system has no locks it does nothing: then two writers
/// may mix their files, each of them whole.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

/// InputError "OPTION TARGET: is an input and would be overwritten" if `target` is one of the files
/// `inputs`, by whatever path or link.
void refuse_to_overwrite(std::span<const std::filesystem::path> inputs, const std::string& option,
                         const std::filesystem::path& target);

/// InputError "path: is not a regular file" for a pipe or device, whose reader may wait for ever.
void refuse_special_file(const std::filesystem::path& path);

/// fsync of a folder, so that the renames in it last. MachineError.
void sync_folder(const std::filesystem::path& folder);

/// Removes temporary files in `folder` whose writers, processes of this host, are dead.
void remove_stale_temporaries(const std::filesystem::path& folder);

/// All bytes of a regular file; throws InputError "path: reason".
std::vector<std::byte> read_whole_file(const std::filesystem::path& path);

}  // namespace pareto
