#ifndef FILIGREE_WORKER_REPORT_HTML_H_
#define FILIGREE_WORKER_REPORT_HTML_H_

#include <cstdint>
#include <string>

// Text and numbers for a page.

namespace filigree::report {

// `text` as element text or as a quoted attribute. Bytes that are not UTF-8 and control characters become U+FFFD.
std::string Escape(const std::string& text);

// A JSON string that may stand inside <script>.
std::string JsonText(const std::string& text);

// Four significant digits: "3.217", "0.0512", "1.2e-06"; "-" where x is not finite.
std::string Number(double x);

// With a letter for thousands, millions, ...: "9.94k".
std::string ShortNumber(double x);

// "9,941"
std::string Count(int64_t n);

// A share as percent: "12.5%"; "-" where x is not finite.
std::string Percent(double share);

// A density as people say it: "1/64" where its inverse is whole within a thousandth, else "0.0312".
std::string Density(double density);

}  // namespace filigree::report

#endif  // FILIGREE_WORKER_REPORT_HTML_H_
