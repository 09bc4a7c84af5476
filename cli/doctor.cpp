#include <sys/sysinfo.h>

#include <thread>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/libraries.h"
#include "pumice/data/scenes/scenes.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/cuda_libraries.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/parallel.h"

namespace pumice {
namespace {

class Doctor : public Command {
 public:
  std::string name() const override { return "doctor"; }
  std::string summary() const override { return "show the machine, the libraries found and the environment variables"; }
  std::string examples() const override { return "  pumice doctor\n"; }
  void declare(OptionTable&) override {}

  int run(OptionTable&, const std::vector<std::string>&) override {
    print_line("CPU");
    for (Isa isa : kAllIsas) {
      if (isa == Isa::amx_emulated && isa != active_isa()) { continue; }  // for tests
      const char* usable = isa == active_isa() ? "in use" : "available";
      const char* state = !built_for(isa) ? "not built" : !machine_has(isa) ? "not supported by this CPU" : usable;
      print_line(format("  %-11s %s", pumice::name(isa), state));
    }
    struct sysinfo memory = {};
    sysinfo(&memory);
    print_line(format("  %d compute threads of %u cores, %s of memory", thread_count(), std::thread::hardware_concurrency(),
                      human_bytes(double(memory.totalram) * memory.mem_unit).c_str()));
    print_line("CUDA\n  " + cuda_device::describe());
    if (cuda_device::built()) {
      for (const std::string& library : cuda_libraries::describe()) { print_line("  " + library); }
    }
    print_line("Libraries");
    for (const auto& [library, version] : data_libraries()) { print_line(format("  %-22s %s", library.c_str(), version.c_str())); }
    std::string font = find_emoji_font("");
    print_line("Sample scenes\n  " +
               (font.empty() ? "no emoji font: scenes are drawn with procedural shapes. For emoji: apt-get install fonts-noto-color-emoji"
                             : "emoji font " + font));
    print_line("Environment variables");
    for (const flags::Flag& flag : flags::all()) {
      std::string value = flags::value_of(flag);
      print_line(format("  %-22s %-10s %s", flag.name, value.empty() ? "(unset)" : value.c_str(), flag.help));
    }
    return 0;
  }
};

}  // namespace

std::unique_ptr<Command> make_doctor() { return std::make_unique<Doctor>(); }

}  // namespace pumice
