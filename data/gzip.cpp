#include "pumice/data/gzip.h"

#include <zlib.h>

#include <algorithm>

#include "pumice/tensor/error.h"

namespace pumice {

std::string gunzip(std::string_view bytes, const std::string& name, uint64_t max_bytes) {
  struct Inflater {
    z_stream z = {};
    Inflater() { inflateInit2(&z, 15 + 16); }
    ~Inflater() { inflateEnd(&z); }
  } inflater;
  z_stream& z = inflater.z;
  std::string out;
  char buffer[65536];
  int status = Z_OK;
  size_t fed = 0;
  for (;;) {
    if (z.avail_in == 0 && fed < bytes.size()) {
      size_t piece = std::min<size_t>(bytes.size() - fed, 1u << 30);
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + fed));
      z.avail_in = uInt(piece);
      fed += piece;
    }
    z.next_out = reinterpret_cast<Bytef*>(buffer);
    z.avail_out = sizeof buffer;
    status = inflate(&z, Z_NO_FLUSH);
    out.append(buffer, sizeof buffer - z.avail_out);
    REQUIRE(FormatError, out.size() <= max_bytes, "[gzip] ", name, " grows beyond ", max_bytes >> 20,
            " MiB when decompressed; decompress it on disk instead");
    if (status == Z_STREAM_END) {
      if (z.avail_in == 0 && fed == bytes.size()) { return out; }
      REQUIRE(FormatError, inflateReset(&z) == Z_OK, "[gzip] ", name, " is damaged after its first member");
      continue;
    }
    bool starved = z.avail_in == 0 && fed == bytes.size();
    const bool sound = status == Z_OK || status == Z_BUF_ERROR;
    REQUIRE(FormatError, status == Z_OK && !(starved && z.avail_out != 0), "[gzip] ", name,
            sound ? " was cut short; copy it again" : " is damaged: ", sound ? "" : z.msg ? z.msg : "unknown compression");
  }
}

}  // namespace pumice
