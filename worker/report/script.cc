#include "worker/report/assets.h"

// Values under the pointer, or under the arrow keys where a chart has the focus. The page is whole without it.

namespace filigree::report {

const char kScript[] = R"js(
(function(){
'use strict';
var tip=document.getElementById('tip');
function nearest(points,x){
  var low=0,high=points.length-1;
  while(high-low>1){var middle=(low+high)>>1;if(points[middle][0]<x)low=middle;else high=middle}
  return Math.abs(points[low][0]-x)<=Math.abs(points[high][0]-x)?points[low]:points[high];
}
function show(number){return Math.abs(number)>=1e5||number===0||Math.abs(number)>=1e-3?String(+number.toPrecision(5)):number.toExponential(2)}
document.querySelectorAll('figure.chart').forEach(function(figure){
  var svg=figure.querySelector('svg.plot'),json=figure.querySelector('script.data');
  if(!svg||!json)return;
  var data=JSON.parse(json.textContent),cursor=svg.querySelector('.cursor'),at=null;
  data.curves=data.curves.filter(function(curve){return curve.points.length>0});
  if(!data.curves.length)return;
  function place(x,left,top){
    at=Math.min(Math.max(x,data.low),data.high);
    var longest=data.curves.reduce(function(a,b){return b.points.length>a.points.length?b:a});
    var step=nearest(longest.points,at)[0];
    var px=data.left+(step-data.low)/(data.high-data.low)*(data.right-data.left);
    cursor.setAttribute('x1',px);cursor.setAttribute('x2',px);
    cursor.setAttribute('y1',data.top);cursor.setAttribute('y2',data.bottom);
    cursor.removeAttribute('hidden');
    tip.textContent='step '+Math.round(step)+data.curves.map(function(curve){
      var point=nearest(curve.points,step);
      var far=Math.abs(point[0]-step)>(data.high-data.low)/100;
      return '\n'+curve.name+'  '+show(point[1])+(far?' (at '+Math.round(point[0])+')':'');
    }).join('');
    tip.hidden=false;
    var box=tip.getBoundingClientRect();
    tip.style.left=Math.max(4,left+16+box.width>window.innerWidth?left-box.width-16:left+16)+'px';
    tip.style.top=Math.max(4,Math.min(top+12,window.innerHeight-box.height-8))+'px';
  }
  function hide(){cursor.setAttribute('hidden','');tip.hidden=true}
  svg.addEventListener('pointermove',function(event){
    var box=svg.getBoundingClientRect(),scale=svg.viewBox.baseVal.width/box.width;
    var px=(event.clientX-box.left)*scale;
    place(data.low+(px-data.left)/(data.right-data.left)*(data.high-data.low),event.clientX,event.clientY);
  });
  svg.addEventListener('pointerleave',hide);
  svg.addEventListener('blur',hide);
  svg.addEventListener('keydown',function(event){
    var way=event.key==='ArrowRight'?1:event.key==='ArrowLeft'?-1:0;
    if(!way)return;
    event.preventDefault();
    var box=svg.getBoundingClientRect(),x=(at===null?data.low:at)+way*(data.high-data.low)/100;
    x=Math.min(Math.max(x,data.low),data.high);
    var px=data.left+(x-data.low)/(data.high-data.low)*(data.right-data.left);
    place(x,box.left+px*box.width/svg.viewBox.baseVal.width,box.top+box.height/3);
  });
});
})();
)js";

}  // namespace filigree::report
