// What the report uses of ECharts, as one script; built by ../make_report_library.py.
import { BarChart, CustomChart, HeatmapChart } from "echarts/charts";
import { DataZoomComponent, GridComponent, TooltipComponent, VisualMapContinuousComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([
  BarChart,
  CustomChart,
  HeatmapChart,
  DataZoomComponent,
  GridComponent,
  TooltipComponent,
  VisualMapContinuousComponent,
  CanvasRenderer,
]);

export { init };
