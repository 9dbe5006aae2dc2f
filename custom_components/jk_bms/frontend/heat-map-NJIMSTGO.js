// Built from frontend/ by scripts/frontend: do not edit.
function e(e,a){let{html:l,svg:t}=e,s=a.filter(({line:e})=>e.length).map(({cell:e,line:a})=>({cell:e,values:new Map(a.map(({x:e,y:a})=>[Math.floor(24*e),a]))}));if(!s.length)return;let r=[];for(let e=0;e<24;e+=1){let a=s.flatMap(({values:a},l)=>{let t=a.get(e);return void 0===t?[]:[{y:l,volts:t}]}),l=a.reduce((e,{volts:a})=>e+a,0)/a.length;r.push(...a.map(({y:a,volts:t})=>({x:e,y:a,deviation:t-l})))}let o=Math.max(.01,...r.map(({deviation:e})=>Math.abs(e))),n=e.millivolts(o);return l`<style>
${".heat-map{display:grid;gap:4px}.heat-map svg{width:100%;height:calc(var(--rows) * 10px);display:block}"}
</style>
<section class="heat-map" style="--rows: ${s.length}">
<span class="bar-head summary"
><span>${e.words("all_cells_24_h")}</span>
<span class="value">${s[0]?.cell} – ${s.at(-1)?.cell}, ± ${n}</span></span
>
<svg
viewBox="0 0 ${24} ${s.length}"
preserveAspectRatio="none"
role="img"
aria-label=${e.words("heat_map_text",{cells:String(s.length),spread:n})}
>
${r.map(({x:e,y:a,deviation:l})=>t`<rect x=${e} y=${a} width="0.96" height="0.9" style=${function(e){return`fill: color-mix(in srgb, ${e<0?"var(--indigo-color)":"var(--orange-color)"} ${Math.round(100*Math.abs(e))}%, var(--secondary-background-color))`}(l/o)}></rect>`)}
</svg>
</section>`}export{e as heatMap};
