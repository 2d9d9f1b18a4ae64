/* Files that are part of the program: the pages of src/web, Chart.js and what runs unit tests,
 * turned into arrays by the build (hone_embed in CMakeLists.txt).  The bytes are followed by a 0 that is not counted.  A name
 * is the file's name with everything but letters and digits made '_'; a page that is added to
 * src/web is declared here.
 *
 * embed_chart_min_js is empty where libjs-chart.js was not installed at build time. */
#ifndef HONE_UTIL_EMBED_H
#define HONE_UTIL_EMBED_H

#include <stddef.h>

extern const unsigned char embed_chart_min_js[];
extern const size_t embed_chart_min_js_size;

extern const unsigned char embed_report_css[], embed_report_js[];
extern const size_t embed_report_css_size, embed_report_js_size;

extern const unsigned char embed_unit_tests_py[];
extern const size_t embed_unit_tests_py_size;

#endif
