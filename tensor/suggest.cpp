#include "pumice/tensor/suggest.h"

#include <algorithm>

namespace pumice {

int edit_distance(const std::string& a, const std::string& b) {
  const size_t n = a.size(), m = b.size();
  std::vector<std::vector<int>> d(n + 1, std::vector<int>(m + 1));
  for (size_t i = 0; i <= n; ++i) { d[i][0] = int(i); }
  for (size_t j = 0; j <= m; ++j) { d[0][j] = int(j); }
  for (size_t i = 1; i <= n; ++i) {
    for (size_t j = 1; j <= m; ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) { d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1); }
    }
  }
  return d[n][m];
}

std::string nearest_name(const std::string& given, const std::vector<std::string>& names) {
  std::string best;
  int best_distance = 1 << 20;
  for (const std::string& name : names) {
    int distance = edit_distance(given, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best_distance <= std::max<int>(1, int(std::max(given.size(), best.size())) / 3) ? best : "";
}

std::string did_you_mean(const std::string& given, const std::vector<std::string>& names) {
  std::string near = nearest_name(given, names);
  return near.empty() ? "" : " Did you mean '" + near + "'?";
}

std::string join(const std::vector<std::string>& words, const std::string& separator) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) { text += (i ? separator : "") + words[i]; }
  return text;
}

}  // namespace pumice
