// Baselines that pull in a big library live in plug-ins, described by manifests so that listing
// and planning never open them.
#pragma once

#include <string>
#include <vector>

#include "harness/variant.h"

namespace pareto {

/// Variants of every manifest `pareto_<library>.json` in the plug-in folder (`plugins/` beside the
/// program, `../lib/pareto/plugins` of an installation, or $PARETO_PLUGIN_DIR).
std::vector<Variant> plugin_variants();

/// "" or what the dynamic linker does not find here of the shared library `file`, a path or a
/// soname, and of all that it needs. Asked once, of a program of its own: nothing is opened, since
/// libraries run code and make threads where they are. "" also where nobody can be asked.
std::string missing_library(const std::string& file);

/// Opens a plug-in with RTLD_LOCAL; its variants register themselves. CannotRunError if it fails.
void open_plugin(const std::string& path);

/// Opens the plug-in `path` and returns the manifest of the variants it adds, as JSON text.
std::string manifest_of(const std::string& path);

}  // namespace pareto
