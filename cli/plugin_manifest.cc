// pareto plugin-manifest: hidden; writes the manifest of a plug-in after it was linked.

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "cli/verbs.h"
#include "harness/errors.h"
#include "harness/plugin.h"

namespace pareto {

void add_plugin_manifest_verb(CLI::App& app, int&) {
  auto plugin = std::make_shared<std::string>();
  auto output = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("plugin-manifest", "Writes a plug-in's manifest");
  verb->group("");
  verb->add_option("plugin", *plugin, "pareto_<library>.so")->required();
  verb->add_option("manifest", *output, "file to write")->required();
  verb->callback([plugin, output] {
    // Manifests of an earlier build would hide what this plug-in adds.
    setenv("PARETO_PLUGIN_DIR", "/dev/null", 1);
    // First, so that a plug-in that cannot be opened leaves no empty manifest, which would stop
    // every verb.
    const std::string manifest = manifest_of(*plugin);
    std::ofstream file(*output);
    file << manifest << '\n';
    if (!file.flush()) throw MachineError(fmt::format("{}: cannot be written", *output));
  });
}

}  // namespace pareto
