// Built from frontend/ by scripts/frontend: do not edit.
function e(e,l){let{html:a,svg:t}=e,s=l.filter(({line:e})=>e.length).map(({cell:e,line:l})=>({cell:e,values:new Map(l.map(({x:e,y:l})=>[Math.floor(24*e),l]))}));if(!s.length)return;let r=[];for(let e=0;e<24;e+=1){let l=s.flatMap(({values:l},a)=>{let t=l.get(e);return void 0===t?[]:[{y:a,volts:t}]}),a=l.reduce((e,{volts:l})=>e+l,0)/l.length;r.push(...l.map(({y:l,volts:t})=>({x:e,y:l,deviation:t-a})))}let n=Math.max(.01,...r.map(({deviation:e})=>Math.abs(e))),i=e.millivolts(n);return a`<style>
${".heat-map{display:grid;gap:4px}.heat-map svg{width:100%;height:calc(var(--rows) * 10px);display:block}"}
</style>
<section class="heat-map" style="--rows: ${s.length}">
<span class="bar-head summary"
><span>${e.words("all_cells_24_h")}</span>
<span class="value">${s[0]?.cell} – ${s.at(-1)?.cell}, ± ${i}</span></span
>
<svg
viewBox="0 0 ${24} ${s.length}"
preserveAspectRatio="none"
role="img"
aria-label=${e.words("heat_map_text",{cells:String(s.length),spread:i})}
>
${r.map(({x:e,y:l,deviation:a})=>t`<rect x=${e} y=${l} width="0.96" height="0.9" style=${function(e){return`fill: color-mix(in srgb, ${e<0?"var(--low-cell)":"var(--high-cell)"} ${Math.round(100*Math.abs(e))}%, var(--secondary-background-color))`}(a/n)}></rect>`)}
</svg>
</section>`}export{e as heatMap};
