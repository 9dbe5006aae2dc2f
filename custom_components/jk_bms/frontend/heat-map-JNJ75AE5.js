// Built from frontend/ by scripts/frontend: do not edit.
var a=[24,12,0];function e(e,t){let{html:l,svg:s}=e,n=t.filter(({line:a})=>a.length).map(({cell:a,line:e})=>({cell:a,values:new Map(e.map(({x:a,y:e})=>[Math.floor(24*a),e]))}));if(!n.length)return;let r=[];for(let a=0;a<24;a+=1){let e=n.flatMap(({values:e},t)=>{let l=e.get(a);return void 0===l?[]:[{y:t,volts:l}]}),t=e.reduce((a,{volts:e})=>a+e,0)/e.length;r.push(...e.map(({y:e,volts:l})=>({x:a,y:e,deviation:l-t})))}let o=Math.max(.01,...r.map(({deviation:a})=>Math.abs(a))),i=e.millivolts(o),p=Date.now();return l`<style>
${".heat-map{display:grid;grid-template-columns:auto 1fr;gap:4px}.heat-map .bar-head{grid-column:1 / -1}.heat-map svg{width:100%;height:calc(var(--rows) * 10px);display:block}.heat-map .ends{grid-column:2;display:flex;direction:ltr;justify-content:space-between;color:var(--muted);font-size:var(--small);line-height:1}.heat-map .numbers{grid-column:1;flex-direction:column;text-align:end}"}
</style>
<section class="heat-map" style="--rows: ${n.length}">
<span class="bar-head summary"
><span>${e.words("all_cells_24_h")}</span> <span class="value">± ${i}</span></span
>
<span class="ends numbers"
><span>${n[0]?.cell}</span><span>${n.at(-1)?.cell}</span></span
>
<svg
viewBox="0 0 ${24} ${n.length}"
preserveAspectRatio="none"
role="img"
aria-label=${e.words("heat_map_text",{cells:String(n.length),spread:i})}
>
${r.map(({x:a,y:e,deviation:t})=>s`<rect x=${a} y=${e} width="0.96" height="0.9" style=${function(a){return`fill: color-mix(in srgb, ${a<0?"var(--indigo-color)":"var(--orange-color)"} ${Math.round(100*Math.abs(a))}%, var(--secondary-background-color))`}(t/o)}></rect>`)}
</svg>
<span class="ends"
>${a.map(a=>l`<span>${e.time(new Date(p-36e5*a))}</span>`)}</span
>
</section>`}export{e as heatMap};
