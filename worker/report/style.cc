#include "worker/report/assets.h"

// Nine colours that stay apart on white and on black, also for most colour-blind readers; the curves of one chart
// differ in dash or dots besides.

namespace filigree::report {

const char kStyle[] = R"css(
:root{--back:#fff;--card:#fff;--ink:#1b2330;--soft:#5a6675;--line:#dfe4ea;--heat:38 99 171;--warn:#8a4b00;--warnback:#fff4e0;
--c0:#2463ab;--c1:#c2540a;--c2:#0d7d6c;--c3:#7b3fb5;--c4:#b5285a;--c5:#6b7a0f;--c6:#0f7ea8;--c7:#8c5a2b;--c8:#7d8793}
@media (prefers-color-scheme:dark){:root{--back:#12161c;--card:#191f27;--ink:#e4e9f0;--soft:#9aa7b6;--line:#2d3641;--heat:96 160 235;
--warn:#ffcf87;--warnback:#3a2b12;
--c0:#6aaeff;--c1:#ff9a4d;--c2:#42c9b2;--c3:#c08cf5;--c4:#ff7da6;--c5:#bccb4b;--c6:#5cc8ef;--c7:#d3a06b;--c8:#9aa5b1}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
header,main{max-width:1160px;margin:0 auto;padding:0 24px}
header{padding-top:28px}
.brand{margin:0;color:var(--soft);font-size:13px;letter-spacing:.06em;text-transform:uppercase}
h1{margin:0 0 8px;font-size:30px;line-height:1.2;overflow-wrap:anywhere}
h2{margin:44px 0 12px;font-size:21px;border-bottom:1px solid var(--line);padding-bottom:6px}
h3{margin:0;font-size:15px}
p{margin:4px 0 10px}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:14px}
a{color:var(--c0);text-decoration:none}a:hover,a:focus-visible{text-decoration:underline}
.state strong{font-size:17px;margin-right:8px}.state span{color:var(--soft)}
.progress{height:8px;background:var(--line);border-radius:4px;overflow:hidden}.progress span{display:block;height:100%;background:var(--c0)}
.warning{background:var(--warnback);color:var(--warn);padding:8px 12px;border-radius:6px;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:16px 0}
.tiles div{border:1px solid var(--line);background:var(--card);border-radius:8px;padding:10px 14px}
.tiles dt{color:var(--soft);font-size:13px}.tiles dd{margin:0;font-size:23px;font-weight:600;font-variant-numeric:tabular-nums}
.tiles small{display:block;font-size:12px;font-weight:400;color:var(--soft)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:2px 28px;margin:8px 0}
.facts div{display:flex;gap:10px;border-bottom:1px solid var(--line);padding:3px 0}
.facts dt{color:var(--soft);min-width:120px}.facts dd{margin:0;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:18px}
figure{margin:0;border:1px solid var(--line);background:var(--card);border-radius:8px;padding:14px;min-width:0}
.wide{grid-column:1/-1}
figcaption p{color:var(--soft);font-size:13px;margin:2px 0 8px}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;margin:0 0 6px;padding:0;font-size:13px}
.legend li{display:flex;align-items:center;gap:6px}
.scroll{overflow-x:auto}
svg.plot,svg.stack{display:block;width:100%;height:auto;min-width:460px}
.wide svg.plot{min-width:760px}
svg.plot:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
text{fill:var(--ink);font-size:12px;font-variant-numeric:tabular-nums}
.tick,.unit,.marklabel{fill:var(--soft);font-size:11.5px}
.marklabel,.label,.unit{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.level{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 4}.label{font-size:11.5px}
.mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
.faint{stroke-width:.8;opacity:.42}.dashed{stroke-dasharray:7 5;stroke-width:2.2}
.outline{stroke:var(--ink);stroke-width:1.2;opacity:.75}
.dot{fill:var(--c);stroke:var(--card);stroke-width:1}.fill{fill:var(--c);opacity:.85}.onfill{fill:#fff;font-weight:600}
@media (prefers-color-scheme:dark){.onfill{fill:#10141a}}
.cursor[hidden]{display:none}.cursor{stroke:var(--ink);stroke-width:1;opacity:.5}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}.c8{--c:var(--c8)}
.swatch{display:inline-block;width:11px;height:11px;border-radius:2px;background:var(--c);margin-right:8px}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:3px 12px 3px 0;text-align:right;font-weight:400;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child{text-align:left}thead th{color:var(--soft)}
td small{color:var(--soft)}
table.grid{width:100%}table.grid th,table.grid td{text-align:center;padding:5px 8px;border:2px solid var(--card)}
.heat{background:rgb(var(--heat)/var(--v));padding-left:12px}
.events th,.events td{text-align:left;vertical-align:top}.events td:last-child{white-space:normal;overflow-wrap:anywhere}
.events .note td{color:var(--warn)}
.smalls{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:18px}
.smalls svg{display:block;width:100%;height:auto}
.none{color:var(--soft)}
details{margin:8px 0}summary{cursor:pointer}.figures summary{color:var(--soft);font-size:13px}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:10px 12px;overflow-x:auto;margin:6px 0;
white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4;font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace}
main{padding-bottom:60px}
#tip{position:fixed;z-index:2;pointer-events:none;background:var(--card);color:var(--ink);border:1px solid var(--soft);border-radius:6px;
padding:6px 10px;font-size:13px;line-height:1.4;white-space:pre;font-variant-numeric:tabular-nums;box-shadow:0 2px 10px rgb(0 0 0/.25)}
#tip[hidden]{display:none}
@media (max-width:820px){.charts,.smalls{grid-template-columns:minmax(0,1fr)}header,main{padding-left:14px;padding-right:14px}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{:root{--back:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc}nav,.figures,#tip{display:none}
figure,.tiles div,pre{break-inside:avoid}h2{break-after:avoid}body{font-size:12px}header,main{max-width:none;padding:0}svg.plot{min-width:0}}
)css";

}  // namespace filigree::report
